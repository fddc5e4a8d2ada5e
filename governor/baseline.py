"""The operator's own values, from before the governor turned anything: what it gives back and returns to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from governor.domain import FloatArray, MeshIndex
from governor.guard.memory import Key
from governor.knobs import BackendWeights, KnobState, KnobValue
from governor.policy_view import PolicyView


def own_weights(
    baseline: Mapping[Key, KnobValue], knobs: KnobState, index: MeshIndex, policy: PolicyView
) -> FloatArray:
    """(B,) the operator's backend weights: those in force, and where the governor moved them those from before.

    NaN for a backend that was not there then.
    """
    own = knobs.weight.copy()
    moved = {
        policy.position(target): dict(value.shares)
        for (target, _), value in baseline.items()
        if isinstance(value, BackendWeights)
    }
    for row in np.flatnonzero(np.isin(index.backend_edge, list(moved))).tolist():
        own[row] = moved[int(index.backend_edge[row])].get(index.backends[row], np.nan)
    return own

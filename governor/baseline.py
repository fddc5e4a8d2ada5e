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
    for (target, _), value in baseline.items():
        edge = policy.position(target)
        if isinstance(value, BackendWeights) and edge >= 0:
            shares = dict(value.shares)
            for row in np.flatnonzero(index.backend_edge == edge).tolist():
                own[row] = shares.get(index.backends[row], np.nan)
    return own

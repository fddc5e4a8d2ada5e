"""What `policies/capabilities/<name>.yaml` says of a mesh, held against its code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_objects import Snapshot
from governor.adapters.meshes.mesh import Mesh, Place
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Timeout,
)

FOLDER = Path(__file__).resolve().parents[3] / "policies" / "capabilities"
VALUES: Mapping[Knob, KnobValue] = {
    Knob.WEIGHTS: BackendWeights((("a", 0.5), ("b", 0.5))),
    Knob.RETRIES: RetryPolicy(2, 0.2),
    Knob.TIMEOUT: Timeout(2.0, 1.0),
    Knob.OUTLIER_DETECTION: OutlierDetection(0.3, 5),
    Knob.CONNECTION_LIMITS: ConnectionLimits(100, 50),
    Knob.IN_FLIGHT_CAP: InFlightCap(100, None),
    Knob.RATE_LIMIT: RateLimit(100.0),
}

Example = tuple[Snapshot, Place, KnobValue]


def file_agrees(mesh: Mesh, examples: Mapping[Knob, Example]) -> None:
    """Each `no` is refused with the reason that the file gives, each `yes` and `partly` renders."""
    data: dict[str, Any] = yaml.safe_load((FOLDER / f"{mesh.name}.yaml").read_text())
    assert data["name"] == mesh.name
    assert set(data["apis"]) >= {mesh.kinds[0].api_version}
    assert set(data["knobs"]) == {knob.value for knob in Knob}
    for name, row in data["knobs"].items():
        knob = Knob(name)
        if row["says"] == "no":
            assert knob not in examples
            snapshot, where, _ = next(iter(examples.values()))
            with pytest.raises(Inexpressible) as refused:
                mesh.changes(snapshot, where, VALUES[knob])
            assert row["reason"].strip() in str(refused.value)
        else:
            snapshot, where, value = examples[knob]
            changes = mesh.changes(snapshot, where, value)
            assert changes
            assert row["field"]

"""The discovery files read and edited, without an Envoy."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.envoy_files import EnvoyFilesControlPlane, knob_state
from governor.adapters.envoy_files_edits import edits_for, value_of
from governor.adapters.envoy_files_pools import FILL_S, bucket
from governor.adapters.envoy_files_store import XdsDirectory, serialise
from governor.adapters.envoy_files_values import Catalogue, catalogue, rate_of, seconds
from governor.adapters.inexpressible import Inexpressible
from governor.domain import MeshIndex
from governor.errors import ControlPlaneError, WriteUnconfirmed
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    Direction,
    Hypothesis,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    Proposal,
    RateLimit,
    RetryPolicy,
    Target,
    TargetKind,
    Timeout,
)
from governor.reasons import Reason

NAME = "out|ingress|web"
STEM = "out__ingress__web.json"
EDGE = Target(TargetKind.EDGE, NAME)
LOW = Target(TargetKind.API, "shop.low")
FIRST, SECOND = "127.0.0.1:19200", "127.0.0.1:19201"


def index() -> MeshIndex:
    zero = np.zeros(2, np.int32)
    one = np.array([0], np.int32), np.array([1], np.int32)
    return MeshIndex(("ingress", "web"), (NAME,), *one, (FIRST, SECOND), zero, ("shop.high", "shop.low"), zero)


def load(directory: Path) -> Catalogue:
    return catalogue(XdsDirectory(directory).load())


def change(path: Path, edit: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    edit(document["resources"][0])
    path.write_text(json.dumps(document))


def put(directory: Path, target: Target, value: KnobValue) -> int:
    """Write the edits as they are; how many files that touched."""
    edits = edits_for(load(directory), target, value)
    for edit in edits:
        XdsDirectory(directory).replace(edit.path, serialise(edit.document))
    return len(edits)


def contents(directory: Path) -> dict[Path, Any]:
    return {path: json.loads(path.read_text()) for path in directory.rglob("*.json")}


VALUES: list[tuple[Target, Knob, KnobValue, int]] = [
    (EDGE, Knob.IN_FLIGHT_CAP, InFlightCap(16, 60), 1),
    (EDGE, Knob.CONNECTION_LIMITS, ConnectionLimits(90, 30), 1),
    (EDGE, Knob.RETRIES, RetryPolicy(2, 0.1), 1),
    (EDGE, Knob.RETRIES, RetryPolicy(0, 0.0), 2),
    (EDGE, Knob.TIMEOUT, Timeout(1.25, 0.3), 1),
    (EDGE, Knob.WEIGHTS, BackendWeights(((FIRST, 0.995), (SECOND, 0.005))), 1),
    (LOW, Knob.RATE_LIMIT, RateLimit(40.0), 1),
]


@pytest.mark.parametrize(("target", "knob", "value", "files"), VALUES)
def test_a_value_reads_as_written_and_comes_off_again(
    xds: Path, target: Target, knob: Knob, value: KnobValue, files: int
) -> None:
    fresh = contents(xds)
    before = value_of(load(xds), target, knob)
    assert put(xds, target, value) == files
    assert value_of(load(xds), target, knob) == value
    assert put(xds, target, value) == 0
    changed = {path.name for path, document in contents(xds).items() if document != fresh[path]}
    assert len(changed) == files
    put(xds, target, before)
    assert value_of(load(xds), target, knob) == before
    if changed == {"rtds.json"}:
        assert contents(xds) == fresh


@pytest.mark.parametrize(("target", "knob", "value", "files"), VALUES)
def test_a_catalogue_brought_up_to_date_is_that_of_all_files_and_looks_only_at_those_that_changed(
    xds: Path, target: Target, knob: Knob, value: KnobValue, files: int
) -> None:
    directory = XdsDirectory(xds)
    old = catalogue(directory.load())
    put(xds, target, value)
    new = catalogue(directory.load(), old)
    fresh = catalogue(XdsDirectory(xds).load())
    for name in ("layers", "clusters", "assignments", "routes", "limits", "breakers"):
        assert getattr(new, name) == getattr(fresh, name)
    assert value_of(new, target, knob) == value
    assert sum(new.parts[path] is not old.parts[path] for path in new.files) == files


def test_a_file_that_is_gone_leaves_the_catalogue(xds: Path) -> None:
    directory = XdsDirectory(xds)
    old = catalogue(directory.load())
    assert "limit.shop.low" in old.limits
    (xds / "ecds" / "limit.shop.low.json").unlink()
    assert "limit.shop.low" not in catalogue(directory.load(), old).limits


def test_an_untouched_mesh_reads_as_unset(xds: Path) -> None:
    state = knob_state(load(xds), index())
    for unset in (state.cap_default, state.cap_high, state.max_pending, state.retry_budget, state.max_ejection):
        assert np.isnan(unset).all()
    assert state.attempts.tolist() == state.timeout.tolist() == [2.0]
    assert np.isnan(state.per_try_timeout).all()
    assert state.weight.tolist() == [0.5, 0.5]
    assert np.isnan(state.limit).all()


def test_values_are_read_over_the_index(xds: Path) -> None:
    for target, _, value, _ in VALUES:
        put(xds, target, value)
    change(xds / "cds.json", lambda cluster: cluster.update(outlier_detection={"max_ejection_percent": 40}))
    plane = EnvoyFilesControlPlane(xds, "http://127.0.0.1:1")
    state = plane.read(index())
    assert (state.cap_default[0], state.cap_high[0]) == (16.0, 60.0)
    assert (state.max_connections[0], state.max_pending[0]) == (90.0, 30.0)
    assert (state.attempts[0], state.retry_budget[0]) == (0.0, 0.0)
    assert (state.timeout[0], state.per_try_timeout[0]) == (1.25, np.float32(0.3))
    assert state.weight.tolist() == pytest.approx([0.995, 0.005])
    assert math.isnan(state.limit[0])
    assert state.limit[1] == 40.0
    assert (state.max_ejection[0], state.consecutive_5xx[0]) == (np.float32(0.4), 5.0)
    assert plane.read(index()) is state  # nothing changed: nothing is parsed again
    put(xds, EDGE, InFlightCap(20, 60))
    assert plane.read(index()).cap_default[0] == 20.0


def test_envoys_own_defaults_count_as_in_force(xds: Path) -> None:
    change(xds / "cds.json", lambda cluster: cluster.pop("circuit_breakers"))
    change(xds / "rds" / STEM, lambda r: [x["route"].pop("timeout") for x in r["virtual_hosts"][0]["routes"]])
    state = knob_state(load(xds), index())
    assert (state.cap_default[0], state.max_connections[0], state.timeout[0]) == (1024.0, 1024.0, 15.0)


def test_what_an_operator_added_stays(xds: Path) -> None:
    foreign = {"shed.shop.low": {"numerator": 5}, f"circuit_breakers.{NAME}.default.max_retries": 7}
    change(xds / "rtds.json", lambda layer: layer["layer"].update(foreign))
    change(xds / "eds" / STEM, lambda eds: eds.update(policy={"overprovisioning_factor": 200}))
    for target, _, value, _ in VALUES:
        put(xds, target, value)
    found = contents(xds)
    assert found[xds / "rtds.json"]["resources"][0]["layer"].items() >= foreign.items()
    assert found[xds / "eds" / STEM]["resources"][0]["policy"] == {"overprovisioning_factor": 200}
    limit = found[xds / "ecds" / "limit.shop.low.json"]["resources"][0]["typed_config"]
    assert limit["token_bucket"]["max_tokens"] == 1_000_000_000
    assert limit["descriptors"][0]["entries"] == [{"key": "api", "value": "shop.low"}]


def test_a_retry_budget_of_nought_lowers_the_floor_and_the_clusters_own_comes_back(xds: Path) -> None:
    own = {"budget_percent": {"value": 20.0}, "min_retry_concurrency": 4}
    change(xds / "cds.json", lambda c: c["circuit_breakers"]["thresholds"][0].update(retry_budget=own))
    put(xds, EDGE, RetryPolicy(2, 0.0))
    layer = load(xds).layer()
    for priority in ("default", "high"):
        assert layer[f"circuit_breakers.{NAME}.{priority}.retry_budget.min_retry_concurrency"] == 0
    put(xds, EDGE, RetryPolicy(2, 0.05))
    assert load(xds).layer()[f"circuit_breakers.{NAME}.default.retry_budget.min_retry_concurrency"] == 4
    put(xds, EDGE, RetryPolicy(2, 0.2))
    assert load(xds).layer() == {}


@given(st.floats(0.01, 1e6))
def test_a_bucket_passes_its_rate_in_fills_that_envoy_takes(rate: float) -> None:
    made = bucket(rate)
    assert rate_of(made) == pytest.approx(rate, rel=1e-4)
    assert seconds(made["fill_interval"]) >= FILL_S
    assert made["max_tokens"] <= max(1, math.ceil(rate * FILL_S))


REFUSED: list[tuple[Target, KnobValue, str]] = [
    (EDGE, OutlierDetection(0.5, 5), "rebuilds the cluster"),
    (Target(TargetKind.EDGE, "out|web|db"), InFlightCap(1, 1), r"no file knows a cluster named out\|web\|db"),
    (Target(TargetKind.API, "shop.mid"), RateLimit(5), r"no rate limit limit\.shop\.mid.*config_discovery"),
    (LOW, RateLimit(0), "token bucket"),
    (LOW, InFlightCap(1, 1), "sits on an edge"),
    (EDGE, BackendWeights(((FIRST, 0.5), ("10.0.0.9:80", 0.5))), r"lists no 10\.0\.0\.9:80"),
    (EDGE, BackendWeights(((FIRST, 1.0),)), f"also lists {SECOND}"),
    (EDGE, Timeout(0.0, None), "would mean none"),
    (EDGE, RetryPolicy(2, 1.5), "not within 0..1"),
]


@pytest.mark.parametrize(("target", "value", "why"), REFUSED)
def test_what_cannot_be_said_is_refused_with_its_reason(
    xds: Path, target: Target, value: KnobValue, why: str
) -> None:
    with pytest.raises(Inexpressible, match=why):
        edits_for(load(xds), target, value)


def test_a_balancer_that_knows_no_weights_is_named(xds: Path) -> None:
    change(xds / "cds.json", lambda cluster: cluster.update(lb_policy="RANDOM"))
    with pytest.raises(Inexpressible, match="is RANDOM, which knows no weights"):
        edits_for(load(xds), EDGE, BackendWeights(((FIRST, 0.5), (SECOND, 0.5))))


def test_routes_that_differ_are_not_flattened(xds: Path) -> None:
    def differ(resource: Any) -> None:
        first, second = (route["route"] for route in resource["virtual_hosts"][0]["routes"])
        first["timeout"] = "9s"
        second["retry_policy"]["num_retries"] = 1

    change(xds / "rds" / STEM, differ)
    for value, why in ((Timeout(1.0, None), "different timeouts"), (RetryPolicy(0, None), "retry differently")):
        with pytest.raises(Inexpressible, match=why):
            edits_for(load(xds), EDGE, value)


def test_a_proposal_is_refused_without_a_write(xds: Path) -> None:
    plane = EnvoyFilesControlPlane(xds, "http://127.0.0.1:1")
    fresh = contents(xds)
    assert plane.refusal(proposal(Knob.IN_FLIGHT_CAP, InFlightCap(3, 4))) is None
    said = plane.refusal(proposal(Knob.OUTLIER_DETECTION, OutlierDetection(0.5, 5)))
    assert said is not None
    assert "CDS update" in said
    with pytest.raises(ControlPlaneError, match=r"CDS update.*nothing was written"):
        plane.write(EDGE, Knob.OUTLIER_DETECTION, OutlierDetection(0.5, 5))
    assert contents(xds) == fresh


def test_without_an_envoy_nothing_is_written(xds: Path) -> None:
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        plane = EnvoyFilesControlPlane(xds, f"http://127.0.0.1:{closed.getsockname()[1]}")
        fresh = {path: path.stat().st_ino for path in xds.rglob("*.json")}
        with pytest.raises(WriteUnconfirmed, match=r"no Envoy answers at .*; nothing was written"):
            plane.write(EDGE, Knob.IN_FLIGHT_CAP, InFlightCap(3, 4))
    assert {path: path.stat().st_ino for path in xds.rglob("*") if path.suffix == ".json"} == fresh


@pytest.mark.parametrize(
    ("content", "why"),
    [("{", "is not JSON"), ("[]", "no list 'resources'"), ('{"resources": [{}]}', "is not formed")],
)
def test_a_damaged_file_is_named_and_nothing_is_written(xds: Path, content: str, why: str) -> None:
    path = xds / "eds" / STEM
    path.write_text(content)
    plane = EnvoyFilesControlPlane(xds, "http://127.0.0.1:1")
    with pytest.raises(ControlPlaneError, match=f"{STEM}.*{why}.*nothing was written.*mv"):
        plane.write(EDGE, Knob.IN_FLIGHT_CAP, InFlightCap(3, 4))
    with pytest.raises(ControlPlaneError, match=STEM):
        plane.read(index())


def test_an_empty_directory_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ControlPlaneError, match=r"holds no discovery files .*plane\.directory"):
        EnvoyFilesControlPlane(tmp_path, "http://127.0.0.1:1").read(index())
    with pytest.raises(ControlPlaneError, match="nowhere"):
        EnvoyFilesControlPlane(tmp_path / "nowhere", "http://127.0.0.1:1").read(index())


def test_a_replaced_file_keeps_its_mode_and_leaves_no_other(xds: Path) -> None:
    path = xds / "rtds.json"
    path.chmod(0o640)
    names = set(xds.iterdir())
    inode = path.stat().st_ino
    put(xds, EDGE, InFlightCap(3, 4))
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_ino != inode  # moved into place, which is what Envoy reacts to
    assert set(xds.iterdir()) == names


def test_a_symbolic_link_is_left_alone(xds: Path) -> None:
    path = xds / "rtds.json"
    path.rename(xds / "real")
    path.symlink_to("real")
    with pytest.raises(ControlPlaneError, match=r"symbolic link.*nothing was written"):
        put(xds, EDGE, InFlightCap(3, 4))


def proposal(knob: Knob, value: KnobValue) -> Proposal:
    return Proposal(
        target=EDGE,
        knob=knob,
        current=value,
        proposed=value,
        uncapped=value,
        direction=Direction.TIGHTEN,
        reason=Reason.CAP_MISSING,
        summary="",
        evidence={},
        hypothesis=Hypothesis("goodput", 0.0, 1.0),
        confidence=1.0,
        traffic=1.0,
    )

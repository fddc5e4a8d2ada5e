"""From frames to culprits: a chain client -> front -> back, and who is blamed when one of it goes wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from governor.detect.diagnosis import Diagnosis, diagnose
from governor.detect.mesh import FEWEST, service_signals, tables_of
from governor.detect.stage import DetectState, Options
from governor.domain import MeshFrame, MeshIndex
from tests.decide.situations import Columns, frame, mesh

OPTIONS = Options()
WARM = 300
CHAIN = mesh(("client front", "front back", "front side"))


def noisy(seed: int, back_s: float = 0.02, front_s: float = 0.01, failing: float = 0.0) -> MeshFrame:
    """One window with 2 % of noise: `front` takes `front_s` and waits for `back`, which fails `failing`."""
    rng = np.random.default_rng(seed)

    def wobble(values: list[float]) -> list[float]:
        return list(np.array(values) * rng.normal(1.0, 0.02, len(values)))

    edge: Columns = {
        "rate": wobble([200.0, 200.0, 50.0]),
        "errors": wobble([200.0 * failing + 0.2, 200.0 * failing + 0.2, 0.1]),
        "latency_mean": wobble([back_s + front_s, back_s, 0.01]),
        "latency_p99": wobble([3 * (back_s + front_s), 3 * back_s, 0.03]),
    }
    return replace(frame(CHAIN, edge=edge), at=15.0 * seed)


def looked(*last: MeshFrame) -> list[Diagnosis]:
    """What is said of each of `last`, after `WARM` windows in which all was well."""
    state, found = DetectState(), []
    for one in [*(noisy(n) for n in range(WARM)), *last]:
        state, diagnosis = diagnose(state, one, tables_of(one), OPTIONS)
        found.append(diagnosis)
    assert not any(len(d.causes) for d in found[:WARM])
    return found[WARM:]


def service(name: str) -> int:
    return CHAIN.services.index(name)


def test_a_slow_callee_is_blamed_and_its_caller_is_a_victim() -> None:
    (*_, found) = looked(*(noisy(WARM + n, back_s=0.4) for n in range(2)))
    first = found.causes[0]
    assert (first.symptom, first.signal, first.service) == ("front", "latency", "back")
    assert first.share > 0.6
    assert list(np.flatnonzero(found.victim)) == [service("front")]
    assert found.blame[service("back")] > 0.6
    assert list(found.abnormal) == [True, True, False]


def test_a_service_that_is_slow_by_itself_is_no_victim() -> None:
    (*_, found) = looked(*(noisy(WARM + n, front_s=0.4) for n in range(2)))
    assert found.causes[0].service == "front"
    assert not found.victim.any()
    assert list(found.abnormal) == [True, False, False]


def test_failures_are_told_as_failures() -> None:
    (*_, found) = looked(*(noisy(WARM + n, failing=0.3) for n in range(2)))
    first = found.causes[0]
    assert (first.symptom, first.signal, first.service) == ("front", "errors", "back")


def test_a_rush_of_load_is_an_anomaly_but_hurts_nobody() -> None:
    calm = noisy(WARM)
    rush = replace(calm, edge=replace(calm.edge, rate=calm.edge.rate * 5, errors=calm.edge.errors * 5))
    (found,) = looked(rush)
    assert {a.signal for a in found.anomalies} == {"rate"}
    assert not found.abnormal.any()
    assert not found.causes


def test_services_that_call_each_other_in_a_circle_are_ranked_too() -> None:
    circle = mesh(("a b", "b a"))

    def of(n: int, latency: float) -> MeshFrame:
        rng = np.random.default_rng(n)
        edge = {"latency_mean": latency * rng.normal(1, 0.02, 2), "latency_p99": latency * rng.normal(3, 0.06, 2)}
        return replace(frame(circle, edge=edge), at=15.0 * n)

    state = DetectState()
    for n in range(WARM + 1):
        one = of(n, 0.02 if n < WARM else 0.5)
        state, found = diagnose(state, one, tables_of(one), OPTIONS)
    assert {cause.service for cause in found.causes} <= {"a", "b"}
    assert found.causes


def test_the_same_window_twice_teaches_nothing_and_says_the_same() -> None:
    bad = noisy(WARM, back_s=0.4)
    first, second = looked(bad, bad)
    assert first.causes == second.causes


def test_nothing_is_said_of_a_handful_of_requests() -> None:
    few = (FEWEST - 1) / 15.0
    tables = {t.name: t for t in tables_of(frame(CHAIN, edge={"rate": [few, 200.0, 200.0], "errors": 1.0}))}
    edges = dict(zip(tables["edge"].signals, tables["edge"].values, strict=True))
    assert np.isnan(edges["error_share"][0])
    assert np.isnan(edges["latency_p99"][0])
    assert edges["rate"][0] == pytest.approx(few)
    services = dict(zip(tables["service"].signals, tables["service"].values, strict=True))
    assert np.isnan(services["latency"][service("front")])
    assert services["error_share"][service("back")] == pytest.approx(1 / 200)


def test_a_service_is_measured_by_itself_where_it_reports_and_by_its_callers_elsewhere() -> None:
    index = mesh(("a c", "b c"))
    seen = frame(index, edge={"rate": [300.0, 100.0], "errors": [3.0, 5.0], "latency_mean": [0.1, 0.3]})
    rate, errors, latency = service_signals(seen)
    c = index.services.index("c")
    assert (rate[c], errors[c]) == (400.0, pytest.approx(0.02))
    assert latency[c] == pytest.approx((300 * 0.1 + 100 * 0.3) / 400)
    own = frame(index, service={"server_latency": 0.07}, edge={"rate": [300.0, 100.0]})
    assert service_signals(own)[2][c] == pytest.approx(0.07)
    assert np.isnan(rate[index.services.index("a")])


def test_an_empty_mesh_has_nothing_abnormal() -> None:
    empty = MeshIndex((), (), np.empty(0, np.int32), np.empty(0, np.int32))
    nothing = frame(empty, api={"offered": []})
    _, found = diagnose(DetectState(), nothing, tables_of(nothing), OPTIONS)
    assert not found.anomalies

"""The control plane in memory stands in for a real one: it must refuse and remember as one does."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from governor.adapters.memory import MemoryControlPlane
from governor.domain import MeshIndex
from governor.errors import WriteRejected
from governor.knobs import (
    VALUE_TYPES,
    BackendWeights,
    ConnectionLimits,
    Direction,
    Hypothesis,
    InFlightCap,
    Knob,
    KnobState,
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

EDGE, API = Target(TargetKind.EDGE, "b"), Target(TargetKind.API, "shop.low")
VALUES: list[tuple[Target, Knob, KnobValue, dict[str, tuple[int, float]]]] = [
    (API, Knob.RATE_LIMIT, RateLimit(12.5), {"limit": (1, 12.5)}),
    (EDGE, Knob.IN_FLIGHT_CAP, InFlightCap(7, 9), {"cap_default": (1, 7), "cap_high": (1, 9)}),
    (EDGE, Knob.RETRIES, RetryPolicy(2, 0.25), {"attempts": (1, 2), "retry_budget": (1, 0.25)}),
    (EDGE, Knob.TIMEOUT, Timeout(2.5, 0.5), {"timeout": (1, 2.5), "per_try_timeout": (1, 0.5)}),
    (
        EDGE,
        Knob.OUTLIER_DETECTION,
        OutlierDetection(0.5, 3),
        {"max_ejection": (1, 0.5), "consecutive_5xx": (1, 3)},
    ),
    (
        EDGE,
        Knob.CONNECTION_LIMITS,
        ConnectionLimits(64, 32),
        {"max_connections": (1, 64), "max_pending": (1, 32)},
    ),
    (EDGE, Knob.WEIGHTS, BackendWeights((("y", 0.25), ("z", 0.75))), {"weight": (2, 0.75)}),
]


def index(edges: tuple[str, ...] = ("a", "b")) -> MeshIndex:
    return MeshIndex(
        services=("in", "web"),
        edges=edges,
        edge_caller=np.zeros(len(edges), np.int32),
        edge_callee=np.ones(len(edges), np.int32),
        backends=("y", "y", "z"),
        backend_edge=np.array([edges.index("a"), edges.index("b"), edges.index("b")], np.int32),
        apis=("shop.high", "shop.low"),
        api_edge=np.zeros(2, np.int32),
    )


def proposal(target: Target, knob: Knob, value: KnobValue) -> Proposal:
    hypothesis = Hypothesis("success_rate", 0.9, 15.0)
    words = (Direction.TIGHTEN, Reason.OVERLOAD, "", {})
    return Proposal(target, knob, value, value, value, *words, hypothesis, 1.0, 1.0)


def test_the_values_cover_every_knob() -> None:
    assert {knob for _, knob, _, _ in VALUES} == set(VALUE_TYPES)


@pytest.mark.parametrize(("target", "knob", "value", "seen"), VALUES)
def test_what_is_written_is_read_at_its_place_and_nowhere_else(
    target: Target, knob: Knob, value: KnobValue, seen: dict[str, tuple[int, float]]
) -> None:
    plane = MemoryControlPlane()
    plane.write(target, knob, value)
    state = plane.read(index())
    for name, (at, number) in seen.items():
        assert getattr(state, name)[at] == number
        assert np.isnan(getattr(state, name)[0])
    untouched = {f.name for f in fields(KnobState)} - set(seen)
    assert all(np.isnan(getattr(state, name)).all() for name in untouched)


@pytest.mark.parametrize(("target", "knob", "value", "seen"), VALUES)
def test_a_receipt_holds_what_puts_the_old_state_back(
    target: Target, knob: Knob, value: KnobValue, seen: Any
) -> None:
    rng = np.random.default_rng(3)
    unset = KnobState.unset(index())
    sizes = {f.name: len(getattr(unset, f.name)) for f in fields(KnobState)}
    start = KnobState(**{n: rng.integers(1, 100, size).astype(np.float32) for n, size in sizes.items()})
    plane = MemoryControlPlane(index(), start)
    first = plane.write(target, knob, value)
    second = plane.write(target, knob, first.before)
    assert second.before == value
    assert (first.version, second.version) == ("1", "2")
    assert plane.receipts == (first, second)
    assert plane.written == {(target, knob): first.before}
    for f in fields(KnobState):
        np.testing.assert_array_equal(getattr(plane.read(index()), f.name), getattr(start, f.name))


@pytest.mark.parametrize(("target", "knob", "value", "seen"), VALUES)
def test_before_the_first_write_nothing_is_set_and_weights_are_even(
    target: Target, knob: Knob, value: KnobValue, seen: Any
) -> None:
    for plane in (MemoryControlPlane(), MemoryControlPlane(index())):
        before = plane.write(target, knob, value).before
        if knob is Knob.WEIGHTS:
            assert before == BackendWeights((("y", 0.5), ("z", 0.5)))
        else:
            assert {getattr(before, f.name) for f in fields(before)} == {None}


def test_another_index_gets_the_same_settings_by_name() -> None:
    start = replace(KnobState.unset(index()), timeout=np.array([1.0, 2.0], np.float32))
    start.weight[:] = [1.0, 0.25, 0.75]
    plane = MemoryControlPlane(index(), start)
    plane.write(EDGE, Knob.IN_FLIGHT_CAP, InFlightCap(7, None))
    other = plane.read(index(("new", "b", "a")))
    np.testing.assert_array_equal(other.timeout, np.array([np.nan, 2.0, 1.0], np.float32))
    np.testing.assert_array_equal(other.cap_default, np.array([np.nan, 7.0, np.nan], np.float32))
    np.testing.assert_array_equal(other.weight, np.array([1.0, 0.25, 0.75], np.float32))


def test_a_reader_cannot_change_the_settings_in_force() -> None:
    plane = MemoryControlPlane(index())
    plane.read(index()).timeout[:] = 1.0
    assert np.isnan(plane.read(index()).timeout).all()


@pytest.mark.parametrize(
    ("target", "knob", "value", "words"),
    [
        (EDGE, Knob.TIMEOUT, Timeout(1, 1), "has no timeout"),
        (EDGE, Knob.RETRIES, Timeout(1, 1), "a Timeout is no value of retries"),
        (EDGE, Knob.RATE_LIMIT, RateLimit(1), "rate-limit sits on an api"),
        (API, Knob.RETRIES, RetryPolicy(1, 0.2), "retries sits on an edge"),
        (Target(TargetKind.EDGE, "nowhere"), Knob.RETRIES, RetryPolicy(1, 0.2), "no such target"),
    ],
)
def test_what_cannot_be_expressed_is_refused_and_not_written(
    target: Target, knob: Knob, value: KnobValue, words: str
) -> None:
    plane = MemoryControlPlane(index(), refuses=[Knob.TIMEOUT])
    refusal = plane.refusal(proposal(target, knob, value))
    assert refusal is not None
    assert words in refusal
    with pytest.raises(WriteRejected, match=words):
        plane.write(target, knob, value)
    assert plane.receipts == ()
    assert plane.refusal(proposal(EDGE, Knob.RETRIES, RetryPolicy(1, 0.2))) is None


def test_a_state_without_its_index_is_refused() -> None:
    with pytest.raises(ValueError, match="give the index too"):
        MemoryControlPlane(state=KnobState.unset(index()))

"""Index, signals and the frame: names in order, absences listed, trust."""

from __future__ import annotations

import numpy as np
import pytest

from governor.domain import Gap, GapReason
from governor.observe.frame import LISTED, Measured, build_frame, gaps_of
from governor.observe.index import EdgeName, mesh_index
from governor.observe.signals import Signal
from governor.observe.staleness import is_stale, stale_after

EDGES = (EdgeName("b", "in", "db"), EdgeName("a", "in", "web"))


def test_index_is_in_order_of_names_and_hangs_together() -> None:
    index = mesh_index(EDGES, [("b", "2"), ("b", "1"), ("gone", "1")], {"shop": "a", "lost": "gone"})
    assert index.edges == ("a", "b")
    assert index.services == ("db", "in", "web")
    assert [index.services[i] for i in index.edge_callee] == ["web", "db"]
    assert index.backends == ("1", "2")
    assert index.backend_edge.tolist() == [1, 1]
    assert (index.apis, index.api_edge.tolist()) == (("shop",), [0])


def test_index_stays_the_same_object_until_something_changes() -> None:
    first = mesh_index(EDGES, [("a", "1")], {"shop": "a"})
    assert mesh_index(reversed(EDGES), [("a", "1")], {"shop": "a"}, first) is first
    assert mesh_index(EDGES, [("a", "2")], {"shop": "a"}, first) is not first
    assert mesh_index(EDGES, [("a", "1")], {"shop": "b"}, first) is not first
    moved = (EDGES[0], EdgeName("a", "db", "web"))
    assert mesh_index(moved, [("a", "1")], {"shop": "a"}, first) is not first


def test_the_first_flaw_counts_and_only_some_remove_the_value() -> None:
    signal = Signal.of(
        np.array([1.0, 2, np.nan, np.inf]),
        {
            GapReason.STALE: np.array([True, False, False, False]),
            GapReason.RESET: np.array([True, True, False, False]),
        },
    )
    assert signal.values == pytest.approx([np.nan, 2, np.nan, np.nan], nan_ok=True)
    reasons = [gap.reason for gap in gaps_of("edge.rate", signal, ("a", "b", "c", "d"))]
    assert sorted(reasons) == sorted([GapReason.STALE, GapReason.RESET, GapReason.MISSING, GapReason.NOT_FINITE])
    assert signal.trust == 0.0  # not one of the four is whole


def test_trust_leaves_out_rows_where_nothing_is_expected() -> None:
    few = np.array([True, False, False])
    assert Signal.of(np.array([1.0, 2, np.nan]), {GapReason.TOO_FEW: few}).trust == 0.5
    assert Signal.of(np.full(3, np.nan), {GapReason.TOO_FEW: np.ones(3, bool)}).trust == 0.0
    assert Signal.of(np.empty(0)).trust == 0.0


def test_many_gaps_of_one_reason_become_one_line() -> None:
    names = tuple(f"e{i:03}" for i in range(LISTED + 2))
    values = np.full(len(names), np.nan)
    (every,) = gaps_of("edge.rate", Signal.of(values), names)
    assert (every.subject, every.reason) == ("every edge", GapReason.MISSING)
    values[0] = 1
    (most,) = gaps_of("edge.rate", Signal.of(values), names)
    assert most.subject == f"{LISTED + 1} of {LISTED + 2} edge rows"
    assert most.detail == "e001, e002, e003, ..."
    values[1] = 1
    assert len(list(gaps_of("edge.rate", Signal.of(values), names))) == LISTED


def test_a_frame_has_every_signal_and_says_what_is_absent() -> None:
    index = mesh_index(EDGES, [("a", "10.0.0.1:80")])
    own = Gap("source", "x", GapReason.PARTIAL, "a store is down")
    rate = Signal.of(np.array([1.0, np.nan]))
    frame = build_frame(Measured(7.0, 5.0, index, edge={"rate": rate}, gaps=(own,), whole=0.5, age_s=2.0))
    assert frame.edge.rate.dtype == np.float32
    assert frame.trust["edge.rate"] == 0.25
    assert frame.trust["edge.errors"] == frame.trust["api.offered"] == 0.0
    assert np.isnan(frame.backend.rate).all()
    assert own in frame.gaps
    assert Gap("edge.rate", "b", GapReason.MISSING) in frame.gaps
    assert Gap("edge.errors", "every edge", GapReason.MISSING) in frame.gaps
    assert Gap("backend.rate", "a 10.0.0.1:80", GapReason.MISSING) in frame.gaps
    assert (frame.at, frame.window_s, frame.age_s) == (7.0, 5.0, 2.0)


def test_three_missed_samples_are_stale_and_so_are_samples_from_the_future() -> None:
    assert stale_after(5, 2) == 17
    ages = np.array([0, 15, 15.1, -15.1, np.nan])
    assert is_stale(ages, 5).tolist() == [False, False, True, True, True]

"""The readers of the labelled sets, on sets of a few rows made here; and what is said where there is no data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.benchmarks.evaluate import nab, nezha, petshop, root_cause, vus
from tests.benchmarks.evaluate.cases import departure
from tests.benchmarks.evaluate.root_cause import RANKINGS, place


def test_departure_is_in_robust_deviations_and_blind_where_nothing_was_measured() -> None:
    before = np.array([[1.0, np.nan, 5.0], [2.0, np.nan, 5.0], [3.0, np.nan, np.nan]])
    during = np.array([[5.0, 1.0, 6.0], [7.0, 1.0, np.nan]])
    gone = departure(before, during)
    assert gone.above.tolist() == [4.0, 0.0, 1.0]
    assert gone.z == pytest.approx([4 / 1.4826, 0, 1 / 0.1])


def test_a_tie_is_not_a_hit() -> None:
    assert place(np.array([1.0, 1.0, 0.0]), 0) == 2
    assert place(np.array([2.0, 1.0, 0.0]), 0) == 1


def test_nab_reads_series_and_windows(tmp_path: Path) -> None:
    time = np.datetime64("2020-01-01T00:00", "ns") + np.arange(200) * np.timedelta64(300, "s")
    table = {"series": ["b.csv"] * 200 + ["a.csv"] * 200, "timestamp": np.tile(time, 2), "value": np.zeros(400)}
    pq.write_table(pa.table(table), tmp_path / "nab.parquet")
    window = [str(time[100].astype("datetime64[s]")), str(time[109].astype("datetime64[s]"))]
    (tmp_path / "combined_windows.json").write_text(json.dumps({"b.csv": [window], "a.csv": []}))
    a, b = nab.read(tmp_path)
    assert (a.name, b.name) == ("a.csv", "b.csv")
    assert len(a.labels.windows) == 0
    assert np.flatnonzero(b.labels.window == 0).tolist() == list(range(70, 80))  # after 30 points of probation


def petshop_rows(latency: dict[str, float], at: list[float], issue: str | None) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for node, value in latency.items():
        for metric, stat, number in (("latency", "Average", value), ("requests", "Sum", 100.0)):
            rows += [
                {"unix_timestamp": t, "node": node, "metric": metric, "stat": stat, "value": number} for t in at
            ]
    return [row | ({"issue": issue} if issue else {}) for row in rows]


def test_petshop_reads_an_issue_and_blames_its_culprit(tmp_path: Path) -> None:
    folder = tmp_path / "low"
    folder.mkdir()
    normal = {"front": 0.2, "search": 0.1}
    pq.write_table(
        pa.Table.from_pylist(petshop_rows(normal, [300.0 * i for i in range(20)], None)),
        folder / "noissue.parquet",
    )
    issue = petshop_rows(normal, [9_000.0, 9_300.0], "issue_0")
    issue += petshop_rows({"front": 0.5, "search": 0.39}, [9_600.0, 9_900.0], "issue_0")
    pq.write_table(pa.Table.from_pylist(issue), folder / "issues.parquet")
    (folder / "edges.csv").write_text("caller,callee\nfront,search\n")
    (folder / "targets.csv").write_text(
        "issue,target_node,target_metric,agg,timestamp,root_cause\nissue_0,front,latency,Average,9650,search\n"
    )
    (case,) = petshop.cases(tmp_path)
    np.testing.assert_allclose(case.excess.node, [30.0, 29.0])
    assert {name: rank(case) for name, rank in RANKINGS.items()}[root_cause.OURS] == 1


def nezha_day(folder: Path) -> None:
    services, start = ("cart", "front"), np.datetime64("2022-08-22T00:00", "ns")
    rows = []
    for minute in range(40):
        slow = minute >= 30
        for service in services:
            latency = {"front": 0.5 if slow else 0.1, "cart": 0.4 if slow else 0.01}[service]
            row = {"service": service, "ts": start + minute * np.timedelta64(60, "s"), nezha.RATE: 10.0}
            row |= {nezha.LATENCY: latency, nezha.CPU: 90.0 if slow and service == "cart" else 5.0 + minute % 2}
            rows.append(row | dict.fromkeys(nezha.OTHERS, 1.0))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["ts"] = np.array(columns["ts"], "datetime64[ns]")
    pq.write_table(pa.table(columns), folder / "ob_day_fault.parquet")
    seconds = int(start.astype("datetime64[s]").astype(int))
    for side, value in (("source", 0.012), ("destination", 0.01)):
        lines = "".join(f"x,{seconds + 60 * minute},{value},\n" for minute in range(40))
        (folder / f"ob_day_fault_{side}_50.csv").write_text("time,timestamp,front_cart,front_elsewhere\n" + lines)
    (folder / "ob_day_faults.csv").write_text(
        "inject_time,inject_timestamp,inject_pod,inject_type,service\n"
        "2022-08-22 00:29:30,0,cart-1,cpu,cart\n2022-08-22 00:29:30,0,gone-1,cpu,gone\n"
    )


def test_nezha_reads_signals_and_edges_and_blames_its_culprit(tmp_path: Path) -> None:
    nezha_day(tmp_path)
    (case,) = nezha.cases(tmp_path, "ob_")
    assert list(zip(case.graph.caller, case.graph.callee, strict=True)) == [(1, 0)]
    assert case.symptom == 1
    np.testing.assert_allclose(case.excess.node, [3.9, 4.0])
    assert RANKINGS[root_cause.OURS](case) == 1
    assert nezha.cases(tmp_path, "tt_") == []


def test_vus_reads_both_parts_and_ours_finds_what_left_its_relation(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    load = rng.normal(0.5, 0.1, 1400)
    signals = {"m0": load, "m1": 2 * load + rng.normal(0, 0.01, 1400)}
    signals["m1"][1200:1220] = 0.2
    train = {name: values[:1000] for name, values in signals.items()}
    test = {name: values[1000:] for name, values in signals.items()}
    test["anomaly"] = np.isin(np.arange(400), np.arange(200, 220)).astype(int)
    pq.write_table(pa.table(train), tmp_path / "omi-1_train.parquet")
    pq.write_table(pa.table(test), tmp_path / "omi-1_test.parquet")
    first, second, labels = vus.read(tmp_path / "omi-1_train.parquet")
    assert first.shape == (1000, 2)
    assert second.shape == (400, 2)
    assert labels.sum() == 20
    for score in vus.DETECTORS.values():
        assert score(first, second).shape == (400,)
    assert vus.ours(first, second)[200:220].max() > 3 * np.median(vus.ours(first, second))


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    rows = [*nab.rows(tmp_path), *vus.rows(tmp_path), *root_cause.rows(tmp_path)]
    assert all(not row.values and row.note for row in rows)
    assert {row.what for row in rows} >= {"NAB", "VUS-PR ASD", "PetShop", "Nezha Train Ticket"}

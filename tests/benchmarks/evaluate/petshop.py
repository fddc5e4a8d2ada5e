"""Faults of the PetShop set: Hardt and others, The PetShop Dataset, CLeaR 2024 (arXiv 2311.04806).

Normal is the larger of the long-run median, from the hours without any issue, and the median of the windows just
before the complaint: work that was heavier than usual already does not explain a new symptom.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from governor.detect.root_cause import CallGraph, Excess
from tests.benchmarks.evaluate.cases import Case

WINDOW_S = 300
"""Length of a window of the data set."""
Key = tuple[str, str, str]
Table = dict[Key, dict[float, float]]
"""Values by node, metric and statistic, and then by the start of the window."""


def cases(folder: Path) -> list[Case]:
    """Scorable issues in the order of the files: those of scenarios whose hours without issue are there."""
    found = []
    for scenario in sorted(p.parent for p in folder.glob("*/noissue.parquet")):
        normal = _tables(scenario / "noissue.parquet")[""]
        issues = _tables(scenario / "issues.parquet")
        edges = [(e["caller"], e["callee"]) for e in _records(scenario / "edges.csv")]
        found += [
            _case(target, normal, issues[target["issue"]], edges) for target in _records(scenario / "targets.csv")
        ]
    return found


def _records(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _tables(path: Path) -> dict[str, Table]:
    tables: dict[str, Table] = defaultdict(dict)
    for row in pq.read_table(path).to_pylist():
        series = tables[row.get("issue", "")].setdefault((row["node"], row["metric"], row["stat"]), {})
        series[row["unix_timestamp"]] = row["value"]
    return tables


def _case(target: dict[str, str], normal: Table, issue: Table, edges: list[tuple[str, str]]) -> Case:
    nodes = sorted({key[0] for key in issue} | {node for edge in edges for node in edge})
    position = {node: i for i, node in enumerate(nodes)}
    at = float(target["timestamp"])
    excess, z = np.zeros(len(nodes)), np.zeros((2, len(nodes)))
    for i, node in enumerate(nodes):
        for row, metric in enumerate(("latency", "availability")):
            work, z[row, i] = _departure((node, metric, "Average"), normal, issue, at)
            if metric == target["target_metric"]:
                excess[i] = work
    complaint = z[0 if target["target_metric"] == "latency" else 1]
    graph = CallGraph(
        len(nodes),
        np.array([position[caller] for caller, _ in edges]),
        np.array([position[callee] for _, callee in edges]),
    )
    ends = position[target["target_node"]], position[target["root_cause"]]
    return Case(graph, Excess(excess, rarity=complaint), z.max(axis=0), *ends)


def _departure(key: Key, normal: Table, issue: Table, at: float) -> tuple[float, float]:
    """Seconds (or 0.01 failed requests) above normal a window, and robust z; 0 if too little is known."""
    long_run = np.array(list(normal.get(key, {}).values()))
    values, requests = issue.get(key, {}), issue.get((key[0], "requests", "Sum"), {})
    if len(long_run) < 10 or not values:
        return 0.0, 0.0
    # A falling availability is what a rising latency is.
    sign = 1.0 if key[1] == "latency" else -1.0
    middle = np.median(long_run)
    spread = max(1.4826 * np.median(np.abs(long_run - middle)), 0.01 * abs(middle), 1e-9)
    before = [sign * v for t, v in values.items() if t <= at - WINDOW_S]
    usual = max(sign * middle, float(np.median(before)) if before else -np.inf)
    during = {t: sign * v - usual for t, v in values.items() if at - WINDOW_S < t <= at + 2 * WINDOW_S}
    if not during:
        return 0.0, 0.0
    work = float(np.mean([max(above, 0.0) * requests.get(t, 0.0) for t, above in during.items()]))
    return work, float(np.clip(np.mean(list(during.values())) / spread, 0.0, 1000.0))

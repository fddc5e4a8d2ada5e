"""Root cause on recorded faults: how often the injected service is ranked first, and among the first three.

Per system, as pooled figures hide who wins where. Three simple rankings run beside ours on the same evidence: the
largest robust z of the signal that complains, the largest of any signal, and own excess without tie-breakers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from governor.detect.root_cause import Excess, rank_causes
from tests.benchmarks.evaluate import nezha, petshop
from tests.benchmarks.evaluate.cases import Case
from tests.benchmarks.table import Row

Array = NDArray[np.float64]


def place(score: Array, culprit: int) -> int:
    """Rank of the culprit from 1; those that tie with it are counted before it."""
    return int((score >= score[culprit]).sum())


def by_own_excess(case: Case, excess: Excess) -> int:
    """Rank in the stage's own ranking; last if the culprit is not below the symptom."""
    causes = rank_causes(case.graph, excess, case.symptom)
    score = np.full(case.graph.nodes, -1.0)
    score[causes.order] = causes.score
    return place(score, case.culprit)


def by_complaint(case: Case) -> int:
    """Rank by the robust z of the signal that complains."""
    assert case.excess.rarity is not None
    return place(case.excess.rarity, case.culprit)


RANKINGS: dict[str, Callable[[Case], int]] = {
    "z of the signal that complains": by_complaint,
    "largest z of any signal": lambda case: place(case.every_z, case.culprit),
    "own excess alone": lambda case: by_own_excess(case, replace(case.excess, rarity=None, strain=None)),
    "own excess, z, strain": lambda case: by_own_excess(case, case.excess),
}
OURS = "own excess, z, strain"


def figures(system: str, cases: list[Case], top_1: float, top_3: float | None) -> list[Row]:
    """Rows for one system's cases, with the targets on our own ranking."""
    rows = []
    for name, rank in RANKINGS.items():
        ranks = np.array([rank(case) for case in cases])
        goals = (top_1, top_3) if name == OURS else (None, None)
        for top, goal in zip((1, 3), goals, strict=True):
            share = float((ranks <= top).mean())
            rows.append(Row(f"{system} top-{top}, {name}", (share,), target=goal, note=f"{len(cases)} faults"))
    return rows


def rows(data: Path) -> list[Row]:
    """Figures on DIR/petshop and DIR/nezha; a row that says so where one is not there."""
    answer = []
    shop = petshop.cases(data / "petshop")
    answer += (
        figures("PetShop", shop, 0.92, 1.0) if shop else [Row("PetShop", (), note="no scorable issue found")]
    )
    for system, prefix, goal in (("Nezha Online Boutique", "ob_", 0.5), ("Nezha Train Ticket", "tt_", 0.3)):
        faults = nezha.cases(data / "nezha", prefix)
        answer += (
            figures(system, faults, goal, None) if faults else [Row(system, (), note=f"no {prefix}*_faults.csv")]
        )
    return answer

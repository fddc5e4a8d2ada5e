"""What must be reached in each scenario, as rows of the table.

A row needs the governor's runs, and some need other arms'; where one is missing the row has no values.
Comparisons are made within a seed: both arms saw the same arrivals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from tests.benchmarks.closed_loop import scores
from tests.benchmarks.closed_loop.arms import GOVERNOR, NOTHING
from tests.benchmarks.closed_loop.runs import Run, Runs
from tests.benchmarks.table import Row

BALANCERS = (NOTHING, "round-robin", "outlier-detection")
"""Where one replica turns slow; the scenario's own data plane is least request."""
ACT_S = 10
"""Two periods: from here on the overload and the replica that fails fast are scored."""
THROUGH_S = 2
"""More of it that settling may take where a control plane stands between governor and proxies."""
WARM_S = 10
STEADY_FROM_S = 5
"""The first connections and the first window are behind by then."""
Figure = Callable[[Run], float]


def overload(runs: Runs) -> list[Row]:
    """Twice the capacity: the optimum's goodput, the high priority first, and more than any other arm."""
    start, end = after_acting(runs)
    return [
        _row(runs, f"share of optimum, {start}-{end} s", lambda r: r.share(start, end), target=0.95),
        _row(runs, f"high priority in SLO, {start}-{end} s", lambda r: r.high_in_slo(start, end), target=0.995),
        _margin(
            runs, "margin over the best other arm, class by class", lambda r: r.share_by_class(start, end), 0.0
        ),
        _margin(runs, "margin over the best other arm, all goodput", lambda r: r.share(start, end), None),
    ]


def capacity_halves(runs: Runs) -> list[Row]:
    """Half of the workers gone."""
    start, end = runs.episode

    def settled(run: Run) -> float:
        return scores.settling_s(run.goodput, run.optimum.fair, start, end)

    before = f"share of optimum before the fault, {WARM_S}-{start} s"
    return [
        _row(runs, f"share of optimum, {start}-{end} s", lambda r: r.share(start, end), target=0.92),
        _row(runs, "settled after", settled, "s", target=15.0, at_least=False),
        _row(runs, before, lambda r: r.share(WARM_S, start), target=0.97),
    ]


def retry_storm(runs: Runs) -> list[Row]:
    """Half of the workers gone for a while, and retries that keep the queues full afterwards."""
    start, end = runs.episode
    last = round(runs.scenario.duration_s)

    def recovered(run: Run) -> float:
        return run.recovery_s(end, last)

    return [
        _row(runs, "recovered after", recovered, "s", target=10.0, at_least=False, every_seed=True),
        _row(runs, f"share of optimum, {start}-{end} s", lambda r: r.share(start, end), target=0.90),
        *_others(runs, "recovered after", recovered, "s"),
    ]


def storm_under_way(runs: Runs) -> list[Row]:
    """The same, but the governor comes late."""
    start, last = round(runs.scenario.govern_from_s), round(runs.scenario.duration_s)

    def recovered(run: Run) -> float:
        return run.recovery_s(start, last)

    return [
        _row(runs, "out of it after", recovered, "s", target=15.0, at_least=False, every_seed=True),
        *_others(runs, "out of it after", recovered, "s"),
    ]


def gray_failure(runs: Runs) -> list[Row]:
    """One slow replica, no errors."""
    start, end = runs.episode
    acted = start + ACT_S

    def ratio(start: int, end: int) -> tuple[float, ...]:
        pairs = _paired(runs, BALANCERS)
        return tuple(g.p99_s(start, end) / min(o.p99_s(start, end) for o in others) for g, others in pairs)

    settled = start + (THROUGH_S if runs.through else 0)
    whole = [_row(runs, f"success, {start}-{end} s", lambda r: r.success(start, end))] if settled > start else []
    return [
        _row(runs, f"success, {settled}-{end} s", lambda r: r.success(settled, end), target=0.99),
        *whole,
        Row(
            _what(runs, f"p99 over the best balancer's, {start}-{end} s"),
            ratio(start, end),
            "",
            0.5,
            at_least=False,
        ),
        _row(runs, f"success, {acted}-{end} s", lambda r: r.success(acted, end)),
        Row(_what(runs, f"p99 over the best balancer's, {acted}-{end} s"), ratio(acted, end)),
    ]


def fail_fast(runs: Runs) -> list[Row]:
    """One replica answers errors at once."""
    start, end = after_acting(runs)
    return [_row(runs, f"success, {start}-{end} s", lambda r: r.success(start, end), target=0.993)]


def two_bottlenecks(runs: Runs) -> list[Row]:
    """Three APIs of one tier share two services."""
    start, end = after_acting(runs)

    def of_sum(run: Run) -> float:
        return scores.share(run.goodput, run.optimum.unfair, start, end)

    def fairness(run: Run) -> float:
        return scores.fairness(run.goodput, run.optimum.fair, start, end)

    return [
        _row(runs, f"share of the fair optimum, {start}-{end} s", lambda r: r.share(start, end), target=0.95),
        _row(runs, "Jain's index of goodput over fair share", fairness, target=0.97),
        _row(runs, "share of the largest sum, fair or not", of_sum),
    ]


def steady(runs: Runs) -> list[Row]:
    """Nothing is wrong: the governor must not be felt."""
    start, end = STEADY_FROM_S, round(runs.scenario.duration_s)
    pairs = _paired(runs, (NOTHING,))
    p99 = tuple(g.p99_s(start, end) / o.p99_s(start, end) for g, (o,) in pairs)
    success = tuple(g.success(start, end) - o.success(start, end) for g, (o,) in pairs)
    return [
        Row(_what(runs, "p99 over the ungoverned"), p99, "", 1.10, at_least=False),
        Row(_what(runs, "success less the ungoverned"), success, "", -0.002),
        _row(
            runs,
            "most writes of one knob of one target",
            most_writes,
            target=1.0,
            at_least=False,
            every_seed=True,
        ),
    ]


TARGETS: dict[str, Callable[[Runs], list[Row]]] = {
    "overload": overload,
    "capacity_halves": capacity_halves,
    "retry_storm": retry_storm,
    "storm_under_way": storm_under_way,
    "gray_failure": gray_failure,
    "fail_fast": fail_fast,
    "two_bottlenecks": two_bottlenecks,
    "steady": steady,
}


def scored_window(runs: Runs) -> tuple[int, int]:
    """The seconds in which all arms of a scenario are compared."""
    start, end = runs.episode
    match runs.scenario.name:
        case "overload" | "fail_fast" | "two_bottlenecks":
            return after_acting(runs)
        case "storm_under_way":
            return round(runs.scenario.govern_from_s), round(runs.scenario.duration_s)
        case "steady":
            return STEADY_FROM_S, end
        case _:
            return start, end


def after_acting(runs: Runs) -> tuple[int, int]:
    """The episode without its first 10 s."""
    start, end = runs.episode
    return start + ACT_S, end


def most_writes(run: Run) -> float:
    """Of all knobs of all targets, the one changed most often: how often."""
    counts = Counter((write.target, write.knob) for write in run.outcome.writes)
    return float(max(counts.values(), default=0))


def _row(
    runs: Runs,
    what: str,
    figure: Figure,
    unit: str = "",
    *,
    target: float | None = None,
    at_least: bool = True,
    every_seed: bool = False,
) -> Row:
    values = runs.values(GOVERNOR, figure)
    return Row(_what(runs, what), values, unit, target, at_least, "every seed" if every_seed else "", every_seed)


def _others(runs: Runs, what: str, figure: Figure, unit: str) -> list[Row]:
    names = [arm for arm in runs.arms if arm != GOVERNOR]
    return [Row(f"{runs.scenario.name}, {name}: {what}", runs.values(name, figure), unit) for name in names]


def _margin(runs: Runs, what: str, figure: Figure, target: float | None) -> Row:
    """Governor less the arm with the best median, seed by seed."""
    medians = {arm: float(np.median(runs.values(arm, figure))) for arm in runs.arms if arm != GOVERNOR}
    if not medians:
        return Row(_what(runs, what), (), "", target)
    best = max(medians, key=lambda arm: medians[arm])
    values = tuple(figure(g) - figure(other) for g, (other,) in _paired(runs, (best,)))
    return Row(_what(runs, what), values, "", target, note=f"best other: {best}, {medians[best]:.3f}")


def _paired(runs: Runs, others: Sequence[str]) -> list[tuple[Run, tuple[Run, ...]]]:
    """The governor's run of each seed with the other arms' of the same seed, where all are there."""
    by_arm = [runs.arm(name) for name in others]
    return [
        (run, tuple(arm[seed] for arm in by_arm))
        for seed, run in runs.arm(GOVERNOR).items()
        if all(seed in arm for arm in by_arm)
    ]


def _what(runs: Runs, what: str) -> str:
    return f"{runs.scenario.name}: {what}"

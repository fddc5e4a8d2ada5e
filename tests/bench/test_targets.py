from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from governor.lab.document_files import load_scenario
from tests.benchmarks.closed_loop import command, smoke
from tests.benchmarks.closed_loop.lanes import Finished
from tests.benchmarks.closed_loop.report import arms_table, failures, raw
from tests.benchmarks.closed_loop.runs import Run, Runs
from tests.benchmarks.closed_loop.targets import TARGETS, scored_window
from tests.benchmarks.closed_loop.trial import Write
from tests.benchmarks.table import Row, finish

Make = Callable[..., Run]


def fast(times: np.ndarray) -> np.ndarray:
    return np.full(len(times), 0.1)


def failing_between(start: float, end: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda times: np.where((times >= start) & (times < end), np.inf, 0.1)


def judged(scenario: str, *runs: Run) -> dict[str, Row]:
    rows = TARGETS[scenario](Runs(load_scenario(scenario), runs))
    return {row.what.split(": ", 1)[1] if row.what.startswith(f"{scenario}:") else row.what: row for row in rows}


@pytest.mark.parametrize("scenario", [*TARGETS])
def test_without_runs_nothing_is_met_and_nothing_breaks(scenario: str) -> None:
    assert all(
        row.values == () and row.met is None for row in TARGETS[scenario](Runs(load_scenario(scenario), ()))
    )


def test_the_retry_storm_is_judged_from_the_triggers_end_and_in_every_seed(make_run: Make) -> None:
    quick = make_run("retry_storm", "governor", failing_between(15, 28))
    slow = make_run("retry_storm", "governor", failing_between(15, 36), seed=2)
    other = make_run("retry_storm", "nothing", failing_between(15, 99))
    rows = judged("retry_storm", quick, slow, other)
    assert rows["recovered after"].values == (4.0, 12.0)
    assert rows["recovered after"].met is False
    assert rows["retry_storm, nothing: recovered after"].values == (math.inf,)


def test_a_late_governor_is_judged_from_when_it_is_let_in(make_run: Make) -> None:
    rows = judged("storm_under_way", make_run("storm_under_way", "governor", failing_between(3, 30)))
    assert rows["out of it after"].values == (8.0,)


def test_through_a_control_plane_the_gray_failure_has_two_seconds_more_to_settle(make_run: Make) -> None:
    run = make_run("gray_failure", "governor", failing_between(15, 17))
    assert judged("gray_failure", run)["success, 15-45 s"].met is False
    rows = judged("gray_failure", replace(run, trial=replace(run.trial, through="envoy-gateway")))
    assert rows["success, 17-45 s"].met is True
    assert rows["success, 15-45 s"].target is None
    assert rows["success, 15-45 s"].values == judged("gray_failure", run)["success, 15-45 s"].values


def test_gray_failure_compares_p99_with_the_best_balancer_of_the_same_seed(make_run: Make) -> None:
    arms = {"governor": 0.2, "nothing": 2.0, "round-robin": 0.8, "outlier-detection": 1.0}
    runs = [
        make_run("gray_failure", arm, lambda times, took=took: np.full(len(times), took))
        for arm, took in arms.items()
    ]
    rows = judged("gray_failure", *runs)
    assert rows["p99 over the best balancer's, 15-45 s"].values == pytest.approx((0.25,))
    assert rows["success, 15-45 s"].values == (1.0,)
    assert judged("gray_failure", *runs[:3])["p99 over the best balancer's, 15-45 s"].values == ()


def test_steady_is_paired_and_counts_writes_of_one_knob_of_one_target(make_run: Make) -> None:
    once = (Write(1, "edge/a", "in-flight-cap", undo=False), Write(1, "edge/b", "in-flight-cap", undo=False))
    back = (*once, Write(4, "edge/a", "in-flight-cap", undo=True))
    for writes, most in ((once, 1.0), (back, 2.0), ((), 0.0)):
        rows = judged(
            "steady", make_run("steady", "nothing", fast), make_run("steady", "governor", fast, 1, writes)
        )
        assert rows["most writes of one knob of one target"].values == (most,)
        assert rows["p99 over the ungoverned"].values == (1.0,)
        assert rows["success less the ungoverned"].values == (0.0,)


def test_the_margin_is_over_the_arm_with_the_best_median(make_run: Make) -> None:
    runs = [
        make_run("overload", "nothing", failing_between(0, 99)),
        make_run("overload", "static-cap", failing_between(30, 75)),
        make_run("overload", "governor", failing_between(50, 75)),
    ]
    row = judged("overload", *runs)["margin over the best other arm, class by class"]
    assert "static-cap" in row.note
    assert row.met is True


def test_the_scored_window_of_the_overload_leaves_out_its_first_ten_seconds(make_run: Make) -> None:
    runs = Runs(load_scenario("overload"), [make_run("overload", "governor", failing_between(15, 25))])
    assert scored_window(runs) == (25, 75)
    (row, *_) = TARGETS["overload"](runs)
    # everybody is answered after second 25 in this made-up run: 600 requests/s where the lab could do 300
    assert row.values == pytest.approx((2.0,), rel=0.02)


def test_a_shortened_scenario_keeps_rates_and_faults() -> None:
    short = smoke.shortened(load_scenario("overload"))
    assert short.load.classes["shop.high"].schedule == ((8, 54), (20, 180), (2, 54))
    gray = smoke.shortened(load_scenario("gray_failure"))
    (fault,) = gray.faults
    assert (fault.at_s, fault.factor, gray.duration_s) == (8, 10, fault.at_s + fault.for_s)


def test_raw_figures_and_tables_are_made_of_finished_runs(make_run: Make, tmp_path: Path) -> None:
    every = [Runs(load_scenario("steady"), [make_run("steady", "nothing", fast)])]
    assert arms_table(every, ()).row_count == 1
    (saved,) = raw(every)
    assert (saved["arm"], saved["figures"]["success"], len(saved["optimum"]["shop.low"])) == ("nothing", 1.0, 45)
    out = tmp_path / "out.json"
    assert finish("t", [Row("never", (math.inf,), target=1.0, at_least=False)], out, {"runs": raw(every)}) == 1
    read = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert read["rows"][0]["values"] == ["inf"]
    assert read["runs"][0]["figures"]["high in SLO"] == 1.0


def test_a_row_without_values_is_shown_as_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert finish("t", [Row("x", (), target=1.0)], None) == 0
    assert "not run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--short", "--arm", "governor"], "--short has its own scenarios and arms"),
        (["--json", "/nowhere/at/all.json"], "there is no such directory"),
    ],
)
@pytest.mark.usefixtures("real_envoy")
def test_what_cannot_run_is_said_before_anything_starts(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.main(parser.parse_args(options)) == 2
    assert said in capsys.readouterr().err


def test_failed_trials_are_named_and_miss_the_target(capsys: pytest.CaptureFixture[str], make_run: Make) -> None:
    trial = make_run("steady", "nothing", fast).trial
    row = failures([Finished(trial, None, "port busy", 1.0)])
    assert row.met is False
    assert "failed: steady, nothing, seed 1: port busy" in capsys.readouterr().err

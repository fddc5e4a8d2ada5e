"""The demo's verb: its table, drawing and progress say what was measured."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from governor.commands import demo
from governor.commands.demo import Asked, result
from governor.commands.demo_progress import faults, going_on, watching
from governor.lab.command import prepared
from governor.lab.mesh import Progress
from governor.lab.report.data import Arm, FaultBand, Finding, ReportData, Score
from governor.lab.report.drawing import drawing


def both(governed: Score, ungoverned: Score) -> ReportData:
    """Four seconds, a fault in the second one; a goodput of `share` tenths from there on."""

    def arm(score: Score) -> Arm:
        goodput = (10.0, *[10 * score.share] * 3)
        return Arm("governed", (10.0,) * 4, goodput, {"shop.low": goodput}, (0.1,) * 4, (1.0,) * 4)

    fault = Finding(FaultBand(1.0, 2.0, "<db> & friends"), 10.0, governed, ungoverned)
    return ReportData(
        "demo", "", 0.0, 4.0, 0.5, 1.0, (10.0,) * 4, arm(governed), arm(ungoverned), (fault,), (), ()
    )


GOOD, BAD = Score(9, 0.9, 1.0, 0.0), Score(1, 0.1, 0.05, math.inf)


@pytest.mark.parametrize(("governed", "ungoverned"), [(GOOD, BAD), (BAD, GOOD)])
def test_the_table_says_what_was_measured_whoever_came_through_better(governed: Score, ungoverned: Score) -> None:
    out = io.StringIO()
    data = both(governed, ungoverned)
    Console(file=out, width=80).print(result(data, Asked(Path("r.html"), Path("p.svg"), None, None, "")))
    text = out.getvalue()
    rows = [line.split("  ") for line in text.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    words = {GOOD: ["90 %", "100 %", "at once"], BAD: ["10 %", "5 %", "no"]}
    assert ["<db> & friends", "ungoverned", *words[ungoverned]] in cells
    assert ["1-2 s", "governed", *words[governed]] in cells
    shares = [("10 %", "90 %"), ("90 %", "10 %")][governed is GOOD]
    assert (
        f"governed mesh gave {shares[0]} of the best possible answers in time; ungoverned, it gave {shares[1]}"
        in (" ".join(text.split()))
    )
    assert "report: r.html" in text
    assert "picture: p.svg" in text


def test_a_busy_machine_is_told_as_a_reason_to_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (8.64, 1.0, 1.0))
    assert "load 8.6 on 2 processors" in demo._busy()
    monkeypatch.setattr("os.getloadavg", lambda: (1.9, 9.0, 9.0))
    assert demo._busy() == ""


def test_the_drawing_shows_both_arms_and_keeps_text_from_outside_text() -> None:
    svg = drawing(both(GOOD, BAD))
    assert "governed: 90 % of the best possible" in svg
    assert "ungoverned: 10 % of the best possible" in svg
    assert "&lt;db&gt; &amp; friends" in svg
    assert svg.count('class="fault"') == 1


def test_away_from_a_terminal_each_second_is_one_line_of_both_arms(capsys: pytest.CaptureFixture[str]) -> None:
    scenario = prepared("demo_mesh", None, None)
    with watching(scenario) as second:
        for arm, good in (("governed", 9), ("ungoverned", 5)):
            second(arm, Progress(20, 160.0, {"a": (10, good, 0), "b": (5, 1, 0)}))
        second("governed", Progress(21, 160.0, {"a": (10, 9, 0)}))
    lines = capsys.readouterr().out.splitlines()
    fault = going_on(faults(scenario), 20)
    assert fault
    assert lines == [f"  20 of 160 s  sent  15/s, answered in time: ungoverned   6/s, governed  10/s  {fault}"]

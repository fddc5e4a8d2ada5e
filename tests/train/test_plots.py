"""The card's drawings are SVG of what was measured."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from governor.train.job import Outcome
from governor.train.plots import BOTTOM, COVERAGE_PLOT, LOSS_PLOT, TOP, drawing

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("name", [COVERAGE_PLOT, LOSS_PLOT])
def test_a_job_draws_one_line_through_all_horizons(trained: tuple[Path, Outcome], name: str) -> None:
    models, outcome = trained
    root = ET.parse(models / "forecast" / outcome.version / name).getroot()
    lines = [p for p in root.iter("{http://www.w3.org/2000/svg}path") if p.get("stroke-width") == "2"]
    assert [line.get("d", "").count("L") for line in lines] == [11]


def test_the_drawn_coverage_is_the_measured_one(trained: tuple[Path, Outcome]) -> None:
    models, outcome = trained
    text = (models / "forecast" / outcome.version / COVERAGE_PLOT).read_text()
    (path,) = re.findall(r'd="M([^"]*)" fill="none"', text)
    heights = [float(point.split()[1]) for point in path.split("L")]
    most = max(1.0, 1.1 * max(1e-9, *((BOTTOM - y) / (BOTTOM - TOP) for y in heights)))
    shares = [(BOTTOM - y) / (BOTTOM - TOP) * most for y in heights]
    assert sum(shares) / len(shares) == pytest.approx(
        outcome.contest.scores["made up"]["challenger"].coverage, abs=0.01
    )


def test_names_are_escaped_and_a_single_point_is_a_dot() -> None:
    text = drawing("a < b", {"<svg>": [(60.0, 0.5)], "none": []}, 0.8)
    ET.fromstring(text)
    assert text.count("<circle") == 1
    assert "&lt;svg&gt;" in text

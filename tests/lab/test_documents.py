from __future__ import annotations

from pathlib import Path

import pytest

from governor.errors import DocumentError
from governor.lab.command import lasting
from governor.lab.document_files import load_scenario, parse_scenario, scenario_names
from governor.lab.documents import Scenario

FILE = Path("some/small.yaml")


def test_shipped_scenarios_load_and_are_named_after_their_file() -> None:
    names = scenario_names()
    assert {"overload", "capacity_halves", "retry_storm", "storm_under_way", "steady"} <= set(names)
    assert {"gray_failure", "fail_fast", "two_bottlenecks", "demo_mesh", "site_day"} <= set(names)
    for name in names:
        assert load_scenario(name).name == name


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("latency_s: 0.2", "latencys: 0.2", ["slo.latencys", "unknown field", "latency_s"]),
        ("priority: low", "priority: medium", ["apis.1.priority", "'high' or 'low'"]),
        ("workers: 4", "workers: 0", ["topology.services.0.workers", "greater than"]),
        ("{service: web}}\nload", "{service: wbe}}\nload", ["unknown service 'wbe'", "web"]),
        ("shop.low: {schedule", "shop.lo: {schedule", ["'shop.lo'", "shop.high, shop.low"]),
        ("schedule: [[3, 60]]", "schedule: [[2, 60]]", ["lasts 2 s", "duration_s 3"]),
        ("schedule: [[3, 60]]", "arrivals: poisson", ["exactly one of 'schedule' and 'shape'"]),
        ("duration_s: 3", "duration_s: -3", ["duration_s", "greater than 0"]),
        ("name: web", "name: ingress", ["'ingress' is the name of the outside world"]),
        (
            "slo:",
            "faults: [{kind: slow_replica, at_s: 1, for_s: 1, service: web, factor: 3}]\nslo:",
            ["faults.0", "slow_replica needs the field 'replica'"],
        ),
        (
            "slo:",
            "faults: [{kind: slow_replica, at_s: 1, for_s: 1, service: web, replica: 2, factor: 3}]\nslo:",
            ["replica 2 of 'web' does not exist (0..1)"],
        ),
        (
            "slo:",
            "faults: [{kind: load_spike, at_s: 1, for_s: 1, service: web, factor: 3}]\nslo:",
            ["load_spike takes no field 'service'", "api, factor"],
        ),
        (
            "slo:",
            "faults: [{kind: quake, at_s: 1, for_s: 1}]\nslo:",
            ["faults.0.kind", "'capacity_drop'", "'retry_happy_clients'"],
        ),
        (
            "slo:",
            "data_plane: {static_max_requests: {web: 4, bd: 3}}\nslo:",
            ["static_max_requests", "unknown service 'bd'"],
        ),
    ],
)
def test_a_wrong_document_is_refused_with_file_field_and_allowed_values(
    old: str, new: str, words: list[str], small_text: str
) -> None:
    assert old in small_text
    with pytest.raises(DocumentError) as caught:
        parse_scenario(small_text.replace(old, new), FILE)
    message = str(caught.value)
    for word in ["some/small.yaml", *words]:
        assert word in message


def test_errors_name_the_line(small_text: str) -> None:
    text = small_text.replace("workers: 4", "workers: none")
    line = text[: text.index("workers: none")].count("\n") + 1
    with pytest.raises(DocumentError, match=f"small.yaml:{line}: topology.services.0.workers"):
        parse_scenario(text, FILE)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DocumentError, match=r"no scenario called 'stedy'.*steady"):
        load_scenario("stedy")


def test_missing_file_and_broken_yaml(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="cannot be read"):
        load_scenario(tmp_path / "none.yaml")
    with pytest.raises(DocumentError, match=rf"{FILE}:2: not valid YAML: mapping values are not allowed here"):
        parse_scenario("name: x\n  bad: [", FILE)
    with pytest.raises(DocumentError, match="must be a mapping"):
        parse_scenario("- 1", FILE)


def test_shape_becomes_a_schedule(tmp_path: Path, small_text: str) -> None:
    (tmp_path / "day.csv").write_text("# from somewhere\nrelative_rate\n0.5\n1.0\n0.25\n")
    shape = "shape: {file: day.csv, seconds_per_row: 1, peak_rps: 40}"
    text = small_text.replace("schedule: [[3, 60]]", shape)
    loaded = parse_scenario(text, tmp_path / "small.yaml")
    assert loaded.load.classes["shop.low"].schedule == ((1, 20), (1, 40), (1, 10))
    with pytest.raises(DocumentError, match="shorter than the scenario's"):
        parse_scenario(text.replace("seconds_per_row: 1", "seconds_per_row: 0.5"), tmp_path / "x")
    with pytest.raises(DocumentError, match=r"gone\.csv: cannot be read as a shape"):
        parse_scenario(text.replace("day.csv", "gone.csv"), tmp_path / "x")


def test_documents_are_frozen_and_survive_json(small: Scenario) -> None:
    assert Scenario.model_validate_json(small.model_dump_json()) == small
    with pytest.raises(ValueError, match="frozen"):
        small.seed = 3  # type: ignore[misc]


def test_a_scenario_can_be_cut_or_drawn_out() -> None:
    storm = load_scenario("retry_storm")
    short = lasting(storm, 10)
    assert (short.duration_s, short.warmup_s, short.faults) == (10, 10, ())
    long = lasting(storm, 100)
    assert long.load.classes["shop.low"].schedule == ((45, 224), (55, 224))
    assert long.faults == storm.faults

from __future__ import annotations

from pathlib import Path

import pytest

from governor.lab.document_files import load_scenario
from governor.lab.documents import DataPlane, Retries
from tests.benchmarks.closed_loop.arms import ARM_NAMES, BUDGET, ISTIO_RETRIES, arms_for, effective
from tests.benchmarks.closed_loop.command import plan
from tests.benchmarks.closed_loop.static_limits import nominal_rates, static_caps, static_rate_limits
from tests.benchmarks.closed_loop.targets import TARGETS


def names_of(scenario: str) -> list[str]:
    return [arm.name for arm, _ in arms_for(load_scenario(scenario), ARM_NAMES)[0]]


def test_in_a_retry_storm_every_arm_that_is_not_about_replicas_runs() -> None:
    assert names_of("retry_storm") == [n for n in ARM_NAMES if n not in {"least-request", "round-robin"}]


@pytest.mark.parametrize("scenario", [*TARGETS])
def test_the_governor_and_nothing_run_everywhere_and_no_two_arms_are_alike(scenario: str) -> None:
    chosen, _ = arms_for(load_scenario(scenario), ARM_NAMES)
    names = [arm.name for arm, _ in chosen]
    assert names[0] == "nothing"
    assert names[-1] == "governor"
    planes = [changed.data_plane for arm, changed in chosen if not arm.governed]
    assert all(a != b for i, a in enumerate(planes) for b in planes[:i])


def test_retries_that_cannot_happen_are_the_same_as_none_and_said_so() -> None:
    _, skipped = arms_for(load_scenario("overload"), ARM_NAMES)
    assert {(s.arm, s.why) for s in skipped} == {
        ("istio-retries", "it is the same as nothing"),
        ("retry-budget", "it is the same as nothing"),
    }


def test_balancers_run_where_a_replica_goes_wrong_and_not_twice() -> None:
    for scenario in ("gray_failure", "fail_fast"):
        assert "round-robin" in names_of(scenario)
        assert "least-request" not in names_of(scenario)  # that is the scenario's own
    assert "round-robin" not in names_of("overload")


def test_retries_that_can_happen_are_never_dropped() -> None:
    for retry_on in ("5xx", "503,connect-failure", "reset"):
        plane = DataPlane(retries=Retries(attempts=2, retry_on=retry_on), retry_budget=BUDGET)
        assert effective(plane) == plane
    timed = DataPlane(retries=ISTIO_RETRIES.model_copy(update={"per_try_timeout_s": 0.5}))
    assert effective(timed) == timed


def test_arms_change_the_data_plane_only() -> None:
    scenario = load_scenario("two_bottlenecks")
    for _, changed in arms_for(scenario, ARM_NAMES)[0]:
        assert changed.model_copy(update={"data_plane": scenario.data_plane}) == scenario


def test_what_a_control_plane_cannot_say_is_left_out_with_the_reason() -> None:
    trials, skipped = plan(
        [load_scenario("overload")],
        ["static-cap", "static-rate-limit", "adaptive-concurrency"],
        range(1, 2),
        "istiod",
    )
    assert [t.arm for t in trials] == ["static-cap"]
    assert {s.arm: s.why for s in skipped} == {
        "static-rate-limit": "static_rate_limit_rps cannot be had through istiod",
        "adaptive-concurrency": "adaptive_concurrency cannot be had through istiod",
    }


def test_the_plan_goes_seed_by_seed() -> None:
    trials, _ = plan([load_scenario("steady"), load_scenario("overload")], ["nothing", "governor"], range(1, 3))
    order = [(t.scenario.seed, t.scenario.name, t.arm) for t in trials]
    assert order == [(s, n, a) for s in (1, 2) for n in ("steady", "overload") for a in ("nothing", "governor")]


def test_static_rate_limits_fill_nominal_capacity_to_90_percent_with_the_high_priority_at_its_peak() -> None:
    assert static_rate_limits(load_scenario("overload")) == pytest.approx({"shop.low": 0.9 * 300 - 180}, rel=1e-4)
    shares = dict.fromkeys(("a.low", "b.low", "c.low"), 0.9 * 250 / 2)
    assert static_rate_limits(load_scenario("two_bottlenecks")) == pytest.approx(shares, rel=1e-4)


def test_static_limits_know_no_faults() -> None:
    storm = load_scenario("retry_storm")
    assert nominal_rates(storm, 1.0) == nominal_rates(storm.model_copy(update={"faults": ()}), 1.0)


def test_static_caps_are_twice_littles_law_with_the_time_of_the_calls_below() -> None:
    assert static_caps(load_scenario("overload")) == {"web": 48}
    # s1: 125/s of `a` for 0.08 s and 125/s of `b`, which waits for s2 too, for 0.16 s; s2: 125/s on each edge
    assert static_caps(load_scenario("two_bottlenecks")) == {"s1": 60, "s2": 20}


def test_every_arm_and_scenario_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    assert [name for name in ARM_NAMES if f"`{name}`" not in page] == []
    assert [name for name in TARGETS if f"| {name} |" not in page] == []

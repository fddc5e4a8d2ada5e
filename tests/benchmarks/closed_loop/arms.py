"""The arms: what each does to a scenario's data plane, and which of them are the same by construction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from governor.lab.documents import DataPlane, Retries, RetryBudget, Scenario
from governor.lab.through import Through
from governor.lab.through.objects import unsupported
from tests.benchmarks.closed_loop.static_limits import static_caps, static_rate_limits

ISTIO_RETRIES = Retries(
    attempts=2, retry_on="connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
)
"""What Istio sets where nobody says anything (1.24 and later: no status code is retried)."""
BUDGET = RetryBudget(percent=20.0)
GOVERNOR = "governor"
NOTHING = "nothing"
_NEVER_IN_THE_LAB = {"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"}
"""Conditions the lab cannot bring about: its replicas always listen, speak HTTP/1.1 and no gRPC; the last one
retries the codes given with it and none are."""


@dataclass(frozen=True)
class Arm:
    """One way to run a scenario."""

    name: str
    what: str
    plane: Callable[[Scenario], DataPlane]
    governed: bool = False
    for_replica_faults: bool = False
    """Whether it says something only where single replicas go wrong."""


def _with(**changes: object) -> Callable[[Scenario], DataPlane]:
    return lambda scenario: scenario.data_plane.model_copy(update=changes)


def _retry_budget(scenario: Scenario) -> DataPlane:
    plane = scenario.data_plane
    return plane.model_copy(update={"retries": plane.retries or ISTIO_RETRIES, "retry_budget": BUDGET})


def _rate_limit(scenario: Scenario) -> DataPlane:
    return scenario.data_plane.model_copy(update={"static_rate_limit_rps": static_rate_limits(scenario)})


def _cap(scenario: Scenario) -> DataPlane:
    return scenario.data_plane.model_copy(update={"static_max_requests": static_caps(scenario)})


ARMS = (
    Arm(NOTHING, "the scenario's own data plane", _with()),
    Arm("istio-retries", "Istio's default: 2 retries of what never arrived", _with(retries=ISTIO_RETRIES)),
    Arm("retry-budget", "the scenario's retries, at most 20 % of active requests", _retry_budget),
    Arm("static-rate-limit", "low classes limited to fill 90 % of nominal capacity", _rate_limit),
    Arm("static-cap", "in-flight cap of twice Little's law at nominal capacity", _cap),
    Arm("adaptive-concurrency", "Envoy's filter at its defaults", _with(adaptive_concurrency="default")),
    Arm(
        "outlier-detection",
        "Envoy's at its defaults, with least request",
        _with(outlier_detection="default", lb_policy="least_request"),
    ),
    Arm("least-request", "Envoy's own load balancing", _with(lb_policy="least_request"), for_replica_faults=True),
    Arm("round-robin", "each replica in turn", _with(lb_policy="round_robin"), for_replica_faults=True),
    Arm(GOVERNOR, "the scenario's data plane, governed: preset balanced, period 5 s", _with(), governed=True),
)
ARM_NAMES = tuple(arm.name for arm in ARMS)


@dataclass(frozen=True)
class Skipped:
    """An arm that is not run, and why: another shows what it does, or a control plane cannot say it."""

    scenario: str
    arm: str
    why: str


def arms_for(
    scenario: Scenario, names: Sequence[str], through: Through | None = None
) -> tuple[list[tuple[Arm, Scenario]], list[Skipped]]:
    """The arms in `names` with their scenarios, and those left out."""
    replica_fault = any(fault.replica is not None for fault in scenario.faults)
    chosen: list[tuple[Arm, Scenario]] = []
    skipped: list[Skipped] = []
    seen: dict[str, str] = {}
    for arm in ARMS:
        if arm.name not in names or (arm.for_replica_faults and not replica_fault):
            continue
        plane = arm.plane(scenario)
        key = "governed" if arm.governed else effective(plane).model_dump_json()
        if key in seen:
            skipped.append(Skipped(scenario.name, arm.name, f"it is the same as {seen[key]}"))
            continue
        if through is not None and (lacking := unsupported(plane)):
            skipped.append(Skipped(scenario.name, arm.name, f"{lacking[0]} cannot be had through {through}"))
            continue
        seen[key] = arm.name
        chosen.append(
            (arm, Scenario.model_validate(scenario.model_copy(update={"data_plane": plane}).model_dump()))
        )
    return chosen, skipped


def effective(plane: DataPlane) -> DataPlane:
    """`plane` without retries that cannot happen in the lab, and without a budget for no retries."""
    retries = plane.retries
    conditions = set() if retries is None else {part.strip() for part in retries.retry_on.split(",")}
    timed = retries is not None and retries.per_try_timeout_s is not None
    if retries is None or retries.attempts == 0 or (conditions <= _NEVER_IN_THE_LAB and not timed):
        return plane.model_copy(update={"retries": None, "retry_budget": None})
    return plane

"""The documents a lab is made from: topology, APIs, load, faults, data plane.

Every model is frozen and refuses unknown fields, so that a typo in a scenario is an error and not a
silently different experiment. Times are seconds, rates requests per second, fractions 0..1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,40}$")]
Priority = Literal["high", "low"]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Document(BaseModel):
    """Base of all lab documents: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Service(Document):
    """A service: `replicas` processes of `workers` parallel workers behind one FIFO queue each."""

    name: Name
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    workers: Annotated[int, Field(ge=1, le=1000)]
    service_time_s: Positive
    """Mean time one worker spends on one request."""
    distribution: Literal["exp", "constant", "lognormal"] = "exp"
    queue_limit: Annotated[int, Field(ge=0)] = 1000
    """Requests that may wait at one replica; beyond it the replica answers 503 at once."""

    @property
    def capacity_rps(self) -> float:
        """Requests per second all replicas together can complete with nothing wrong."""
        return self.replicas * self.workers / self.service_time_s


class Topology(Document):
    """The services of the mesh; the edges follow from the APIs' call trees."""

    services: Annotated[tuple[Service, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique(self) -> Topology:
        names = [service.name for service in self.services]
        if len(set(names)) != len(names):
            raise ValueError(f"service names must be unique, got {', '.join(names)}")
        if "ingress" in names:
            raise ValueError("'ingress' is the name of the outside world, not of a service")
        return self

    def service(self, name: str) -> Service:
        """The service called `name`; KeyError if there is none."""
        for service in self.services:
            if service.name == name:
                return service
        raise KeyError(name)


class Call(Document):
    """One node of a call tree: the service's own work first, then its calls one after another."""

    service: Name
    calls: tuple[Call, ...] = ()

    def walk(self) -> Iterator[Call]:
        """This call and all below it, in the order they are made (preorder)."""
        yield self
        for call in self.calls:
            yield from call.walk()


class Api(Document):
    """One API class: an API at one priority. Its name in metrics is `<name>.<priority>`."""

    name: Name
    priority: Priority = "high"
    calls: Call
    weight: Positive = 1.0
    """Share in weighted max-min fairness against others of the same priority."""

    @property
    def class_name(self) -> str:
        """The name routes, limits and results carry, for example `checkout.high`."""
        return f"{self.name}.{self.priority}"


class ClientRetries(Document):
    """What a client does after a failed or timed-out request: try again, `attempts` times at most."""

    attempts: Annotated[int, Field(ge=0, le=10)] = 0
    backoff_s: NotNegative = 0.1
    """Pause before each new attempt, jittered uniformly between half and one and a half of it."""


class Shape(Document):
    """A rate schedule read from a CSV of relative rates, one row after another."""

    file: str
    """CSV with a column `relative_rate` (1.0 is the peak), beside the scenario."""
    seconds_per_row: Positive
    peak_rps: Positive


class ClassLoad(Document):
    """What one API class sends: a piecewise constant rate, open loop."""

    schedule: tuple[tuple[Positive, NotNegative], ...] = ()
    """Pairs of [duration in s, requests/s], one after another."""
    shape: Shape | None = None
    """Instead of a schedule: the shape of a recorded day."""
    arrivals: Literal["poisson", "constant"] = "poisson"
    timeout_s: Positive = 2.0
    """The client gives an attempt up after this long and closes its connection."""
    retries: ClientRetries = ClientRetries()

    @model_validator(mode="after")
    def _one_source(self) -> ClassLoad:
        if bool(self.schedule) == (self.shape is not None):
            raise ValueError("give exactly one of 'schedule' and 'shape'")
        return self


class Load(Document):
    """Open-loop load, one entry per API class (key `<api>.<priority>`)."""

    classes: Annotated[dict[str, ClassLoad], Field(min_length=1)]


FaultKind = Literal["capacity_drop", "slow_replica", "failing_replica", "load_spike", "retry_happy_clients"]


class Fault(Document):
    """Something that goes wrong at `at_s` and is over `for_s` later.

    capacity_drop        `service` keeps `factor` of its workers (a noisy neighbour takes the rest;
                         its advertised limit stays)
    slow_replica         `replica` of `service` takes `factor` times as long for each request
    failing_replica      `replica` of `service` answers a share `error_rate` of requests 500 at once
    load_spike           rate times `factor`, for `api` or for all
    retry_happy_clients  clients retry `attempts` times, for `api` or for all
    """

    kind: FaultKind
    at_s: NotNegative
    for_s: Positive
    service: Name | None = None
    replica: Annotated[int, Field(ge=0)] | None = None
    api: str | None = None
    factor: Positive | None = None
    error_rate: Fraction | None = None
    attempts: Annotated[int, Field(ge=1, le=10)] | None = None
    backoff_s: NotNegative = 0.1
    label: Annotated[str, StringConstraints(min_length=1, max_length=60)] | None = None
    """What reports call it; by default a few words made of the fields."""

    @model_validator(mode="after")
    def _fields_of_its_kind(self) -> Fault:
        needed, allowed = _FAULT_FIELDS[self.kind]
        for field in ("service", "replica", "api", "factor", "error_rate", "attempts"):
            given = getattr(self, field) is not None
            if field in needed and not given:
                raise ValueError(f"a {self.kind} needs the field {field!r}")
            if given and field not in needed | allowed:
                known = ", ".join(sorted(needed | allowed))
                raise ValueError(f"a {self.kind} takes no field {field!r} (it takes {known})")
        if self.kind == "capacity_drop" and self.factor is not None and self.factor > 1:
            raise ValueError("the factor of a capacity_drop is the part that is left, at most 1")
        return self


_FAULT_FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "capacity_drop": ({"service", "factor"}, {"replica"}),
    "slow_replica": ({"service", "replica", "factor"}, set()),
    "failing_replica": ({"service", "replica", "error_rate"}, set()),
    "load_spike": ({"factor"}, {"api"}),
    "retry_happy_clients": ({"attempts"}, {"api"}),
}


class Retries(Document):
    """Envoy's retries on every edge."""

    attempts: Annotated[int, Field(ge=0, le=10)]
    retry_on: str = "5xx,reset,connect-failure"
    """Envoy's conditions, and status codes as Istio writes them, separated by commas."""
    per_try_timeout_s: Positive | None = None

    @property
    def conditions(self) -> tuple[str, ...]:
        """Those of `retry_on` one by one."""
        return tuple(part.strip() for part in self.retry_on.split(",") if part.strip())

    def for_envoy(self) -> tuple[list[str], list[int]]:
        """Conditions by name, and the status codes apart, where Envoy wants them: Istio parts them likewise."""
        codes = [int(part) for part in self.conditions if part.isdigit()]
        names = [part for part in self.conditions if not part.isdigit()]
        return [*names, *(["retriable-status-codes"] if codes else [])], codes


class RetryBudget(Document):
    """Envoy's retry budget: active retries at most this share of active requests."""

    percent: Annotated[float, Field(ge=0, le=100)]
    min_concurrency: Annotated[int, Field(ge=0)] = 3


class DataPlane(Document):
    """How the proxies are set up before anybody governs them."""

    lb_policy: Literal["least_request", "round_robin", "random"] = "least_request"
    retries: Retries | None = None
    retry_budget: RetryBudget | None = None
    timeout_s: Positive = 2.0
    static_rate_limit_rps: Positive | dict[str, Positive] | None = None
    """One number: a limit blind to classes at each ingress; a mapping: one limit per API class."""
    static_max_requests: dict[Name, Annotated[int, Field(ge=1)]] | None = None
    """In-flight cap per called service, blind to priority."""
    adaptive_concurrency: Literal["none", "default"] = "none"
    outlier_detection: Literal["none", "default"] = "none"
    envoy_per_service: bool = False


class Slo(Document):
    """What a good answer is."""

    latency_s: Positive
    timeout_s: Positive
    """What a failed request counts as where latencies of failures are asked for."""


class Scenario(Document):
    """One experiment: a mesh, its load, what goes wrong, and when the score starts."""

    name: Name
    description: str
    duration_s: Positive
    seed: Annotated[int, Field(ge=0)] = 1
    topology: Topology
    apis: Annotated[tuple[Api, ...], Field(min_length=1)]
    load: Load
    faults: tuple[Fault, ...] = ()
    data_plane: DataPlane = DataPlane()
    slo: Slo
    warmup_s: NotNegative = 0.0
    """The score starts after this long."""
    govern_from_s: NotNegative = 0.0
    """When a governor is let in (a storm may be under way by then)."""

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        from governor.lab.checks import problem

        found = problem(self)
        if found:
            raise ValueError(found)
        return self

    def api(self, class_name: str) -> Api:
        """The API class called `class_name`; KeyError if there is none."""
        for api in self.apis:
            if api.class_name == class_name:
                return api
        raise KeyError(class_name)

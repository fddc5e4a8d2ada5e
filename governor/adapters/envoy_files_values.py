"""What the discovery files say of each knob, as Envoy understands them; pure, no I/O.

Where a field is absent, Envoy's own default is in force and is what is read: breakers 1024, request timeout
15 s, `num_retries` 1, weight 1. Source: Envoy API v3, cluster/circuit_breaker.proto, route_components.proto.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from governor.adapters.envoy_admin_names import LIMIT_PREFIX
from governor.adapters.envoy_files_store import Document, XdsFile
from governor.errors import ControlPlaneError

OPEN = 1e5
"""A breaker this wide or wider is no limit."""
UNLIMITED_RPS = 1e8
DEFAULT_BREAKER = 1024.0
DEFAULT_TIMEOUT_S = 15.0
DEFAULT_MIN_RETRY_CONCURRENCY = 3
PRIORITIES = ("default", "high")
BREAKERS = "circuit_breakers"
_BREAKER_KEY = re.compile(r"^circuit_breakers\.(.+)\.(default|high)\.(retry_budget\.\w+|\w+)$")
_DURATION = re.compile(r"^(\d+(?:\.\d*)?|\.\d+)s$")
LOCAL_RATE_LIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"


class Place(NamedTuple):
    """Where one resource stands."""

    path: Path
    position: int


class RoutePlace(NamedTuple):
    """Where one route stands."""

    path: Path
    resource: int
    host: int
    route: int


@dataclass(frozen=True, eq=False)
class Contents:
    """Resources by what they are for."""

    layers: list[Place] = field(default_factory=list)
    clusters: dict[str, Document] = field(default_factory=dict)
    assignments: dict[str, Place] = field(default_factory=dict)
    routes: dict[str, list[RoutePlace]] = field(default_factory=dict)
    """Routes that lead to a cluster, by cluster."""
    limits: dict[str, Place] = field(default_factory=dict)
    """ECDS rate limits by resource name."""
    breakers: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """Runtime values of circuit breakers by (cluster, priority, key)."""

    def add(self, other: Contents) -> None:
        """Take in what another file holds."""
        self.layers.extend(other.layers)
        self.clusters.update(other.clusters)
        self.assignments.update(other.assignments)
        self.limits.update(other.limits)
        self.breakers.update(other.breakers)
        for cluster, places in other.routes.items():
            self.routes.setdefault(cluster, []).extend(places)


@dataclass(frozen=True, eq=False)
class Catalogue(Contents):
    """The resources of all files."""

    files: Mapping[Path, XdsFile] = field(default_factory=dict)
    parts: Mapping[Path, Contents] = field(default_factory=dict)
    """What each file holds, so that a file that did not change is not looked through again."""

    @property
    def runtime(self) -> Place | None:
        """The runtime layer, if there is one."""
        return self.layers[0] if self.layers else None

    def resource(self, place: Place) -> Document:
        """The resource at `place`."""
        return self.files[place.path].resources[place.position]

    def layer(self) -> Mapping[str, Any]:
        """The runtime layer's keys and values; empty without a layer."""
        return self.resource(self.runtime).get("layer", {}) if self.runtime else {}

    def route(self, place: RoutePlace) -> Document:
        """The route at `place`."""
        resource = self.files[place.path].resources[place.resource]
        found: Document = resource["virtual_hosts"][place.host]["routes"][place.route]
        return found

    def has_edge(self, edge: str) -> bool:
        """Whether any file knows the cluster."""
        return edge in self.clusters or edge in self.assignments or edge in self.routes

    # Values of one edge or API; NaN: nothing is set.

    def breaker(self, edge: str, priority: str, key: str) -> float:
        """Circuit breaker in force: the runtime key, else the cluster's own, else Envoy's 1024."""
        value = self.breakers.get((edge, priority, key))
        if value is None:
            value = self.static_breaker(edge, priority, key)
        return math.nan if value >= OPEN else value

    def static_breaker(self, edge: str, priority: str, key: str) -> float:
        """Circuit breaker without the runtime layer; NaN for a cluster that no file holds."""
        if edge not in self.clusters:
            return math.nan
        return float(self._threshold(edge, priority).get(key, DEFAULT_BREAKER))

    def retry_budget(self, edge: str) -> float:
        """Share 0..1 of active requests that may be retries, route priority DEFAULT."""
        value = self.breakers.get((edge, "default", "retry_budget.budget_percent"))
        return self.static_retry_budget(edge) if value is None else value / 100.0

    def static_retry_budget(self, edge: str) -> float:
        """The cluster's own retry budget, 0..1; NaN where it has none and `max_retries` counts instead."""
        budget = self._threshold(edge, "default").get("retry_budget")
        return math.nan if budget is None else float(budget.get("budget_percent", {}).get("value", 20.0)) / 100.0

    def min_retry_concurrency(self, edge: str, priority: str) -> int:
        """The cluster's own floor of its retry budget; Envoy's default where it has none."""
        budget = self._threshold(edge, priority).get("retry_budget", {})
        return int(budget.get("min_retry_concurrency", DEFAULT_MIN_RETRY_CONCURRENCY))

    def _threshold(self, edge: str, priority: str) -> Document:
        breakers = self.clusters.get(edge, {}).get("circuit_breakers", {})
        for threshold in breakers.get("thresholds", ()):
            if str(threshold.get("priority", "DEFAULT")).lower() == priority:
                found: Document = threshold
                return found
        return {}

    def outlier(self, edge: str) -> tuple[float, float]:
        """Largest share ejected (0..1) and failures in a row; NaN where detection is off."""
        detection = self.clusters.get(edge, {}).get("outlier_detection")
        if detection is None:
            return math.nan, math.nan
        return float(detection.get("max_ejection_percent", 10)) / 100.0, float(
            detection.get("consecutive_5xx", 5)
        )

    def attempts(self, edge: str) -> float:
        """Largest number of retries on the edge's routes; 0 where no route retries, NaN without routes."""
        routes = [self.route(p) for p in self.routes.get(edge, ())]
        counts = [retries_of(r["route"]["retry_policy"]) for r in routes if "retry_policy" in r["route"]]
        return max(counts, default=0.0) if routes else math.nan

    def timeouts(self, edge: str) -> tuple[float, float]:
        """Longest request and per-try timeout on the edge's routes, seconds; NaN: none."""
        actions = [self.route(p)["route"] for p in self.routes.get(edge, ())]
        if not actions:
            return math.nan, math.nan
        whole = [seconds(a.get("timeout", f"{DEFAULT_TIMEOUT_S}s")) for a in actions]
        tries = [seconds(a["retry_policy"].get("per_try_timeout", "0s")) for a in actions if "retry_policy" in a]
        longest = max(whole) if all(whole) else 0.0
        return _unless_zero(longest), _unless_zero(max(tries, default=0.0))

    def shares(self, edge: str) -> dict[str, float]:
        """Share of the edge's traffic by endpoint `address:port`; empty where no file lists endpoints."""
        place = self.assignments.get(edge)
        if place is None:
            return {}
        weights = [
            (address_of(e), float(e.get("load_balancing_weight", 1))) for e in endpoints(self.resource(place))
        ]
        total = sum(weight for _, weight in weights)
        return {name: weight / total for name, weight in weights} if total > 0 else {}

    def limit(self, api: str) -> float:
        """Requests/s let in; NaN: no limit."""
        place = self.limits.get(LIMIT_PREFIX + api)
        if place is None:
            return math.nan
        config = self.resource(place)["typed_config"]
        if not config.get("filter_enabled", {}).get("default_value", {}).get("numerator", 0):
            return math.nan
        rate = rate_of(bucket_place(config, api).get("token_bucket", {}))
        return math.nan if rate >= UNLIMITED_RPS else rate


def catalogue(files: Mapping[Path, XdsFile], known: Catalogue | None = None) -> Catalogue:
    """Index of all resources; ControlPlaneError if a file is not formed as its kind must be.

    Files that are the same as in `known` are taken from there.
    """
    parts = {path: _kept(known, path, file) or _contents(path, file) for path, file in files.items()}
    found = Catalogue(files=files, parts=parts)
    for part in parts.values():
        found.add(part)
    if len(found.layers) > 1:
        raise ControlPlaneError(
            f"{found.layers[0].path} holds {len(found.layers)} runtime layers: the governor needs exactly one"
        )
    return found


def _kept(known: Catalogue | None, path: Path, file: XdsFile) -> Contents | None:
    return known.parts[path] if known and known.files.get(path) is file else None


def _contents(path: Path, file: XdsFile) -> Contents:
    found = Contents()
    for position, resource in enumerate(file.resources):
        try:
            _add(found, file.kind, Place(path, position), resource)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ControlPlaneError(
                f"{path}: resource {position} is not formed as in {file.kind} files ({error!r}); "
                "nothing was written. Put a good file in place with a rename (mv)"
            ) from error
    return found


def _plain(value: Any) -> float:
    """A runtime value as Envoy reads it, text of a number included; NaN for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _add(found: Contents, kind: str, place: Place, resource: Document) -> None:
    if kind == "rtds":
        found.layers.append(place)
        for key, value in dict(resource.get("layer", {})).items():
            match = _BREAKER_KEY.match(key)
            if match and math.isfinite(plain := _plain(value)):
                found.breakers[(match[1], match[2], match[3])] = plain
    elif kind == "cds":
        found.clusters[resource["name"]] = resource
    elif kind == "eds":
        for endpoint in endpoints(resource):
            address_of(endpoint)
        found.assignments[resource["cluster_name"]] = place
    elif kind == "rds":
        for route, cluster in _routes(place, resource):
            found.routes.setdefault(cluster, []).append(route)
    elif LOCAL_RATE_LIMIT in resource["typed_config"]["@type"]:
        found.limits[resource["name"]] = place


def _routes(place: Place, resource: Document) -> Iterator[tuple[RoutePlace, str]]:
    for h, host in enumerate(resource.get("virtual_hosts", ())):
        for r, route in enumerate(host.get("routes", ())):
            action = route.get("route", {})
            names = [action["cluster"]] if "cluster" in action else []
            names += [c["name"] for c in action.get("weighted_clusters", {}).get("clusters", ())]
            for name in names:
                yield RoutePlace(*place, h, r), name


def endpoints(assignment: Document) -> list[Document]:
    """All endpoints of a load assignment, whatever their locality."""
    return [e for locality in assignment.get("endpoints", ()) for e in locality.get("lb_endpoints", ())]


def address_of(endpoint: Document) -> str:
    """`address:port`, as Envoy's statistics name the endpoint."""
    socket = endpoint["endpoint"]["address"]["socket_address"]
    return f"{socket['address']}:{socket['port_value']}"


def retries_of(policy: Document) -> float:
    """Retries after the first attempt that a retry policy allows."""
    return float(policy.get("num_retries", 1))


def seconds(text: Any) -> float:
    """A duration as JSON writes it (`1.5s`), in seconds; ValueError if it is none."""
    match = _DURATION.match(str(text))
    if match is None:
        raise ValueError(f"{text!r} is no duration")
    return float(match[1])


def rate_of(bucket: Document) -> float:
    """Requests/s that a token bucket lets through in the long run."""
    interval = seconds(bucket.get("fill_interval", "0s"))
    return float(bucket.get("tokens_per_fill", 1)) / interval if interval > 0 else math.nan


def bucket_place(config: Document, api: str) -> Document:
    """The part of a rate limit that holds the bucket of `api`: its descriptor, else the filter itself."""
    descriptors: Sequence[Document] = config.get("descriptors", ())
    for descriptor in descriptors:
        if [(e.get("key"), e.get("value")) for e in descriptor.get("entries", ())] == [("api", api)]:
            return descriptor
    return config


def _unless_zero(value: float) -> float:
    return value if value > 0 else math.nan

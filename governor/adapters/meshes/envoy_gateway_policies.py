"""BackendTrafficPolicies of Envoy Gateway: which one holds for a route, and which stand above it.

One policy holds at each level: a rule's, else its route's, else that of its listener, else that of its Gateway.
A route's policy hides those above unless it has a `mergeType`. Source: Envoy Gateway, BackendTrafficPolicy
reference and "Policy attachment"; read in the code of 1.9 (`backendtrafficpolicy.go`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, AnyChange, Change, Edit, FieldPath, OwnObject, value_at
from governor.adapters.kubernetes_objects import Body, Found, Kind, Ref, Snapshot, labels_of
from governor.adapters.kubernetes_ownership import is_own
from governor.adapters.meshes.gateway_objects import (
    GATEWAY,
    GATEWAY_CLASS,
    GROUP,
    Route,
    Rule,
    gateway_routes_of,
    parents_of,
)
from governor.adapters.meshes.mesh import Place

POLICY = Kind("gateway.envoyproxy.io", "v1alpha1", "backendtrafficpolicies", "BackendTrafficPolicy")
CONTROLLER = "gateway.envoyproxy.io/"
"""How the controller names of Envoy Gateway's classes begin."""
BY_LABEL = "by label"
"""Key of policies that choose their targets by label."""


@dataclass(frozen=True, eq=False)
class Site:
    """Where a policy of one edge stands, or would stand."""

    route: Route
    """With those of its rules that this policy is for."""
    policy: Found | None
    """The one of the rule or route."""
    section: str | None
    """The rule's name, where the policy is, or must be, for this rule alone."""
    above: tuple[Found, ...]
    """Policies of the route's Gateways and listeners; empty if the route's policy hides them."""

    @property
    def clusters(self) -> int:
        """How many clusters of Envoy share the requests of its one rule, each with limits of its own.

        The backends of a rule are one cluster, unless one of them has filters.
        """
        backends = [backend for _, rule in self.route.rules for backend in rule["backendRefs"]]
        if not any(backend.get("filters") for backend in backends):
            return 1
        return max(1, len([backend for backend in backends if backend.get("weight", 1) > 0]))

    def said(self, path: FieldPath) -> Any:
        """What is in force at `path` of `spec`: of the route's policy, else of those above, else ABSENT."""
        for _, body in (*([self.policy] if self.policy else ()), *self.above):
            value = value_at(body, ("spec", *path))
            if value is not ABSENT:
                return value
        return ABSENT


def sites_of(snapshot: Snapshot, place: Place) -> tuple[Site, ...]:
    """The sites of an edge: of each route one for each rule that a policy can name, else one for the whole route.

    Empty without a route at one of its Gateways. Inexpressible if it is ambiguous which policy holds.
    """
    routes = gateway_routes_of(snapshot, place, lambda found: _is_envoy_gateways(snapshot, found))
    return tuple(site for route in routes for site in _sites_in(snapshot, route))


def _sites_in(snapshot: Snapshot, route: Route) -> list[Site]:
    of_route = _targeting(snapshot, route.ref.kind.kind, route.ref.namespace, route.ref.name, route.body)
    by_section: dict[str | None, list[Found]] = {}
    for found, section in of_route:
        by_section.setdefault(section, []).append(found)
    for several in by_section.values():
        if len(several) > 1:
            policies = " and ".join(str(ref) for ref, _ in several)
            raise Inexpressible(
                f"{policies} both are for {route.ref}, and only the oldest counts: delete the other"
            )
    above = tuple(_above(snapshot, route))
    whole = by_section.get(None, [None])[0]
    named = [(at, rule) for at, rule in route.rules if _stands_alone(route, rule, whole, by_section)]
    sites = [
        _site(replace(route, rules=((at, rule),)), by_section.get(rule["name"], [None])[0], rule["name"], above)
        for at, rule in named
    ]
    rest = tuple(pair for pair in route.rules if pair not in named)
    if rest:
        sites.append(_site(replace(route, rules=rest), whole, None, above))
    return sites


def _stands_alone(
    route: Route, rule: Rule, whole: Found | None, by_section: Mapping[str | None, Sequence[Found]]
) -> bool:
    """Whether a rule has, or is to have, a policy of its own: not where its owner has one for all rules."""
    name = rule.get("name")
    if name is None:
        return False
    if name in by_section:
        return True
    return whole is None and len(route.all_rules) > 1


def _site(route: Route, policy: Found | None, section: str | None, above: tuple[Found, ...]) -> Site:
    # The governor's own gets a mergeType as soon as there is something to merge with.
    hides = policy is not None and not is_own(policy[1]) and "mergeType" not in policy[1]["spec"]
    return Site(route, policy, section, () if hides else above)


def editable(site: Site) -> None:
    """Inexpressible if a policy for this site would be one for other traffic as well."""
    route, policy = site.route, site.policy
    if policy is not None:
        spec = policy[1]["spec"]
        if spec.get("targetSelectors") or len(_references(spec)) > 1:
            raise Inexpressible(
                f"{policy[0]} is for more than {route.ref}: give that route a policy of its own, with mergeType"
            )
    if route.leads_elsewhere and site.section is None:
        raise Inexpressible(
            f"{route.ref} has rules that lead elsewhere, and its policy is for all of them: give the rules to "
            "this service names (and their policies a sectionName), or a route of their own"
        )


def policy_changes(site: Site, edits: Sequence[Edit]) -> list[AnyChange]:
    """Changes that make `edits` in the site's policy, or in one of the governor's own."""
    if not edits or (site.policy is None and all(edit.value is ABSENT for edit in edits)):
        return []
    editable(site)
    if site.policy is not None and not is_own(site.policy[1]):
        return [Change(site.policy[0], tuple(edits))]
    ref = own_ref(site)
    return [OwnObject(ref, {"spec": own_spec(site)}), Change(ref, tuple(edits))]


def own_spec(site: Site) -> dict[str, Any]:
    """The spec of a policy of the governor's own that changes nothing yet."""
    target = {"group": GROUP, "kind": site.route.ref.kind.kind, "name": site.route.ref.name}
    if site.section is not None:
        target["sectionName"] = site.section
    # Without mergeType it would hide the policies of the Gateway whole.
    return {"targetRefs": [target]} | ({"mergeType": "StrategicMerge"} if site.above else {})


def own_ref(site: Site) -> Ref:
    """Where the governor's own policy stands: beside the route."""
    kind = {"HTTPRoute": "http", "GRPCRoute": "grpc"}[site.route.ref.kind.kind]
    section = "" if site.section is None else f"-{site.section}"
    return Ref(POLICY, site.route.ref.namespace, f"{site.route.ref.name}-{kind}{section}-governor")


def _above(snapshot: Snapshot, route: Route) -> Iterable[Found]:
    for kind, (name, namespace), listener in parents_of(route.ref, route.body):
        body = snapshot.get(Ref(GATEWAY, namespace, name)) or {}
        for found, section in _targeting(snapshot, kind, namespace, name, body):
            if section is None or listener is None or section == listener:
                yield found


def _is_envoy_gateways(snapshot: Snapshot, route: Route) -> bool:
    """False only if a parent's class is known to be another controller's."""
    for kind, (name, namespace), _ in parents_of(route.ref, route.body):
        gateway = snapshot.get(Ref(GATEWAY, namespace, name)) if kind == "Gateway" else None
        if gateway is not None:
            its_class = snapshot.get(Ref(GATEWAY_CLASS, "", str(gateway["spec"]["gatewayClassName"])))
            if its_class is not None and not str(its_class["spec"]["controllerName"]).startswith(CONTROLLER):
                return False
    return True


def _references(spec: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = spec.get("targetRefs") or (
        [spec["targetRef"]] if spec.get("targetRef") else []
    )
    return found


def _keys(ref: Ref, body: Body) -> Iterable[Hashable]:
    if body["spec"].get("targetSelectors"):
        yield BY_LABEL
    yield from {(target["kind"], ref.namespace, target["name"]) for target in _references(body["spec"])}


def _targeting(
    snapshot: Snapshot, kind: str, namespace: str, name: str, body: Body
) -> list[tuple[Found, str | None]]:
    """Policies for one object, each with the section of it that it is for."""
    index = snapshot.index(POLICY, _keys)
    found: list[tuple[Found, str | None]] = []
    for ref in index.get((kind, namespace, name), ()):
        policy = snapshot.objects[ref]
        found += [
            ((ref, policy), target.get("sectionName"))
            for target in _references(policy["spec"])
            if (target["kind"], target["name"]) == (kind, name)
        ]
    for ref in index.get(BY_LABEL, ()):
        policy = snapshot.objects[ref]
        selectors = policy["spec"]["targetSelectors"]
        if any(_selects(selector, ref.namespace, kind, namespace, labels_of(body)) for selector in selectors):
            found.append(((ref, policy), None))
    return found


def _selects(selector: Mapping[str, Any], own: str, kind: str, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a selector takes an object; one that chooses namespaces by label is taken to choose this one."""
    if selector["kind"] != kind:
        return False
    if (selector.get("namespaces") or {}).get("from", "Same") == "Same" and own != namespace:
        return False
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions") or ()
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:  # DoesNotExist
            return key not in labels

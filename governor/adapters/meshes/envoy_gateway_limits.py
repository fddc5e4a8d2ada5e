"""The local rate limit of a BackendTrafficPolicy: its rule without selectors, which counts what no other does.

Buckets count in each proxy of the Gateway and for each match of each rule. `rules` is one list: where it holds
only such a rule it is written as a whole, else its owner's list is changed in place. Source: Envoy Gateway,
"Local rate limit"; read in the code of 1.9 (`buildLocalRateLimit`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, Edit, FieldPath, value_at
from governor.adapters.meshes.envoy_gateway_policies import Site
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.rules_envoy_gateway import UNIT_S

RULES: FieldPath = ("rateLimit", "local", "rules")
GLOBAL = "Global"
"""A type of limits that leaves local ones unread."""
PRECISION = 0.02
"""Largest share by which whole requests in a unit of time may miss the rate before a longer unit is taken."""

Rules = Sequence[Mapping[str, Any]]


def limit_edits(site: Site, place: Place, rate: float | None, *, apart: bool = False) -> list[Edit]:
    """The limit over all proxies of the Gateway, in requests/s; None takes it away.

    `apart`: the site is that of one API alone, whatever other APIs enter by the edge.
    """
    now = site.policy[1]["spec"] if site.policy else {}
    rules: Rules = _found(value_at(now, RULES))
    at = next((i for i, rule in enumerate(rules) if not rule.get("clientSelectors")), None)
    alone = not rules or (len(rules) == 1 and set(rules[0]) == {"limit"})
    if rate is None:
        return [] if at is None else _away(site, now, alone=alone)
    _one_bucket(site, 1 if apart else len(place.apis))
    if (now.get("rateLimit") or {}).get("type") == GLOBAL:
        raise Inexpressible(f"{_name(site)} limits globally by its type, and a local limit beside it is not read")
    for ref, body in site.above:
        if "rateLimit" in body["spec"] and "rateLimit" not in now:
            raise Inexpressible(f"{ref} limits this route already: write the limit into a policy of the route")
    requests, unit = _bucket(rate / max(1, place.caller_proxies))
    if alone:
        return [Edit(("spec", *RULES), [{"limit": {"requests": requests, "unit": unit}}])]
    if at is None:
        raise Inexpressible(
            f"{_name(site)} limits only requests that its selectors choose: add a rule without clientSelectors"
        )
    if rules[at].get("shadowMode"):
        raise Inexpressible(f"the rule without selectors of {_name(site)} only watches (shadowMode)")
    where: FieldPath = ("spec", *RULES, at, "limit")
    return [Edit((*where, "requests"), requests), Edit((*where, "unit"), unit)]


def limit_in(site: Site, place: Place) -> float | None:
    """The inverse of `limit_edits`."""
    if site.said(("rateLimit", "type")) == GLOBAL:
        return None
    for rule in _found(site.said(RULES)):
        if not rule.get("clientSelectors") and not rule.get("shadowMode"):
            limit = rule["limit"]
            each = float(limit["requests"]) / UNIT_S[limit["unit"]] if limit["unit"] in UNIT_S else None
            return None if each is None else each * max(1, place.caller_proxies)
    return None


def _found(value: Any) -> Any:
    return () if value is ABSENT else value


def _away(site: Site, now: Mapping[str, Any], *, alone: bool) -> list[Edit]:
    if not alone or set(now["rateLimit"]) != {"local"}:
        raise Inexpressible(
            f"the limit of {_name(site)} stands beside others, and only its owner can take it out"
        )
    return [Edit(("spec", *RULES), ABSENT)]


def _bucket(rate: float) -> tuple[int, str]:
    """Whole requests and their unit: the shortest that keeps to the rate within `PRECISION`."""
    for unit in ("Second", "Minute", "Hour"):
        requests = round(rate * UNIT_S[unit])
        if requests >= 1 and abs(requests / UNIT_S[unit] - rate) <= PRECISION * rate:
            break
    return max(1, requests), unit


def _one_bucket(site: Site, apis: int) -> None:
    if apis > 1:
        raise Inexpressible(
            f"{apis} APIs enter here, and which requests belong to which Envoy Gateway does not know"
        )
    spec = site.route.body["spec"]
    matches = sum(max(1, len(rule.get("matches") or ())) for _, rule in site.route.rules)
    buckets = matches * max(1, len(spec.get("hostnames") or ())) * max(1, len(spec.get("parentRefs") or ()))
    if buckets > 1:
        raise Inexpressible(
            f"{site.route.ref} has {buckets} combinations of parent, host name and match to this service, and "
            "each would have a bucket of its own: give the service a route with one of each"
        )


def _name(site: Site) -> str:
    return str(site.policy[0]) if site.policy else str(site.route.ref)

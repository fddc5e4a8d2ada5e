"""Which rule's cap is which class's.

Envoy Gateway's routes have no priority, but each rule is counted by itself, and a policy can be for one rule: the
rule (or the route, if it has one policy for all of it) that is called `high`, or whose name ends in `-high` or
`.high`, has the cap of the high class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import Edit
from governor.adapters.meshes import envoy_gateway_leaves as leaves
from governor.adapters.meshes.envoy_gateway_policies import Site
from governor.adapters.meshes.mesh import Place
from governor.knobs import InFlightCap

HIGH = "high"
_OF_HIGH = re.compile(rf"(.*[-.])?{HIGH}")


def cap_edits(sites: Sequence[Site], value: InFlightCap, proxies: int) -> list[tuple[Site, list[Edit]]]:
    """The edits of each site's policy. Without a rule of the high class its requests count in the cap of all."""
    high, others = _by_class(sites)
    for rules in (high, others):
        if len(rules) > 1:
            raise _counts_apart(rules, "are of one class")
    if value.default is None and value.high is not None and not high:
        raise Inexpressible(f"no rule ({_names(sites)}) is called `{HIGH}`, so the high class has no cap")
    return [
        *((site, leaves.roomy_cap_edits(site, value.high, proxies)) for site in high),
        *((site, leaves.cap_edits(site, value.default, proxies)) for site in others),
    ]


def caps_in(sites: Sequence[Site], proxies: int) -> InFlightCap | None:
    """The inverse of `cap_edits`; classes that share a rule have the same cap."""
    high, others = _by_class(sites)
    of_high = leaves.roomy_cap_in(high[-1], proxies) if high else leaves.cap_in(others[-1], proxies)
    default = leaves.cap_in(others[-1], proxies) if others else of_high
    return None if default is None and of_high is None else InFlightCap(default, of_high)


def only(sites: Sequence[Site]) -> Site:
    """The one site; Inexpressible if there are several, for the limit is one of the whole edge."""
    if len(sites) > 1:
        raise _counts_apart(sites, "lead to this service")
    return sites[0]


def of_api(sites: Sequence[Site], place: Place) -> Sequence[Site]:
    """The sites of the place's API: those of the route of its name, all if no route is called so."""
    return [site for site in sites if site.route.ref.name == place.api] or sites


def _counts_apart(sites: Sequence[Site], what: str) -> Inexpressible:
    return Inexpressible(
        f"{len(sites)} rules ({_names(sites)}) {what}, and Envoy Gateway counts for each by itself: make "
        "them one rule"
    )


def _names(sites: Sequence[Site]) -> str:
    return ", ".join(f"{site.route.ref}{'' if site.section is None else ' ' + site.section}" for site in sites)


def _by_class(sites: Sequence[Site]) -> tuple[list[Site], list[Site]]:
    """Those of the high class, and the others; one alone is for all requests, whatever it is called."""
    apart = len(sites) > 1
    high = [site for site in sites if apart and _OF_HIGH.fullmatch(site.section or site.route.ref.name)]
    return high, [site for site in sites if site not in high]

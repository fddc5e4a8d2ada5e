"""Policies: read, checked against the mesh, and resolved to what the stages read (`PolicyView`).

Order counts: the first policy that selects an edge or an API governs it, as in a table of routes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from importlib.resources import files
from pathlib import Path

import numpy as np

from governor.domain import IntArray, MeshIndex
from governor.errors import DocumentError
from governor.knobs import Knob
from governor.policy_documents import (
    DEFAULT_AVAILABILITY,
    DEFAULT_LATENCY_S,
    DEFAULT_QUANTILE,
    DEFAULT_RULES,
    HARD_BOUNDS,
    GovernorPolicy,
    Latency,
)
from governor.policy_view import BlastRadius, PolicyView, Rules
from governor.yaml_documents import YamlDocument, choice, parse, read_text, validate

__all__ = [
    "DEFAULT_RULES",
    "HARD_BOUNDS",
    "PRESETS",
    "GovernorPolicy",
    "Resolved",
    "load_policies",
    "parse_policies",
    "preset",
    "resolve",
    "resolved",
    "unmatched",
]

PRESETS = ("observe-only", "cautious", "balanced")
HIGH_SUFFIX = ".high"
"""An API with this ending is tier 0 where no policy says otherwise."""


def preset(name: str) -> GovernorPolicy:
    """A policy that comes with the governor; DocumentError if there is none of that name."""
    if name not in PRESETS:
        raise DocumentError(f"{name}: neither a file nor a preset{choice(name, PRESETS)}")
    packaged = files("governor") / "_policies" / f"{name}.yaml"
    if packaged.is_file():
        text = packaged.read_text(encoding="utf-8")
    else:  # a checkout, or an editable install of one
        text = read_text(Path(__file__).resolve().parents[1] / "policies" / f"{name}.yaml")
    return parse_policies(text, f"preset {name}")[0]


def load_policies(sources: Sequence[str | Path]) -> tuple[GovernorPolicy, ...]:
    """The policies in `sources`, in order: each a file (one or several documents) or a preset's name."""
    policies: list[GovernorPolicy] = []
    for source in sources:
        if str(source) in PRESETS:
            policies.append(preset(str(source)))
        elif Path(source).suffix in {".yaml", ".yml", ".json"} or Path(source).exists():
            policies += parse_policies(read_text(Path(source)), str(source))
        else:
            raise DocumentError(f"{source}: neither a file nor a preset{choice(str(source), PRESETS)}")
    names = [p.metadata.name for p in policies]
    for name in names:
        if names.count(name) > 1:
            raise DocumentError(f"{name}: two policies have this name; give each its own metadata.name")
    return tuple(policies)


def parse_policies(text: str, file: str) -> tuple[GovernorPolicy, ...]:
    """The policies in `text`; DocumentError with file, line and field if one says what it must not."""
    documents = parse(text, file)
    if not documents:
        raise DocumentError(f"{file}: holds no policy; it needs a document with kind: GovernorPolicy")
    return tuple(_policy(document) for document in documents)


def _policy(document: YamlDocument) -> GovernorPolicy:
    policy = validate(document, GovernorPolicy)
    for knob, rule in policy.spec.knobs.items():
        try:
            rule.rule(knob)
        except ValueError as error:
            line = document.line(("spec", "knobs", knob.value))
            raise DocumentError(f"{document.file}, line {line}: spec.knobs.{knob}: {error}") from None
    return policy


class _Globs:
    """Shell-style patterns as one compiled expression."""

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = tuple(patterns)
        self.everything = "*" in patterns
        self._match = re.compile("|".join(translate(p) for p in patterns) or r"(?!)").match

    def __call__(self, name: str) -> bool:
        return self.everything or self._match(name) is not None


def _first(names: Sequence[str], groups: Sequence[Iterable[str]]) -> IntArray:
    """(N,) position of the first group of patterns that matches each name, -1 where none does."""
    chosen = np.full(len(names), -1, np.int32)
    for at, patterns in enumerate(groups):
        match = _Globs(patterns)
        if match.everything:
            chosen[chosen < 0] = at
            break
        for i in np.flatnonzero(chosen < 0).tolist():
            if match(names[i]):
                chosen[i] = at
    return chosen


def resolve(policies: Sequence[GovernorPolicy], index: MeshIndex) -> PolicyView:
    """What `policies` say about the mesh of `index`.

    A service's objective is that of the first policy that governs an edge into it; an API's that of the
    service behind its entry, under the API's own policy.
    """
    edge_rules = _first(index.edges, [p.spec.select.edges for p in policies])
    api_rules = _first(index.apis, [p.spec.select.apis for p in policies])
    service_rules = np.full(len(index.services), len(policies), np.int32)
    governed = edge_rules >= 0
    np.minimum.at(service_rules, index.edge_callee[governed], edge_rules[governed])
    service_rules[service_rules == len(policies)] = -1
    availability, latency_s, quantile = _objectives(policies, index.services, service_rules)
    entries = [index.services[i] for i in index.edge_callee[index.api_edge].tolist()]
    tier, share = _priorities(policies, index.apis, api_rules)
    return PolicyView(
        availability=availability.astype(np.float32),
        latency_s=latency_s.astype(np.float32),
        quantile=quantile.astype(np.float32),
        api_tier=tier,
        api_share=share.astype(np.float32),
        api_latency_s=_objectives(policies, entries, api_rules)[1].astype(np.float32),
        rules=tuple(_rules(p) for p in policies),
        edge_rules=edge_rules,
        api_rules=api_rules,
        edge_position=index.edge_position,
        api_position=index.api_position,
    )


@dataclass(frozen=True, eq=False)
class Resolved:
    """What `view` was made from, so that it is made once and not in every cycle."""

    policies: Sequence[GovernorPolicy]
    index: MeshIndex
    view: PolicyView


def resolved(before: Resolved | None, policies: Sequence[GovernorPolicy], index: MeshIndex) -> Resolved:
    """`before`, if policies and index are still the same objects, else resolved anew."""
    if before is not None and before.policies is policies and before.index is index:
        return before
    return Resolved(policies, index, resolve(policies, index))


def _rules(policy: GovernorPolicy) -> Rules:
    spec = policy.spec
    return Rules(
        name=policy.metadata.name,
        knobs={knob: document.rule(knob) for knob, document in spec.knobs.items()},
        blast_radius=BlastRadius(**spec.blast_radius.model_dump()),
        suppress=frozenset(spec.suppress),
        freeze=tuple((f.start.timestamp(), f.end.timestamp()) for f in spec.freeze),
    )


def _objectives(
    policies: Sequence[GovernorPolicy], services: Sequence[str], chosen: IntArray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) availability, latency in seconds and its quantile of each service under policy `chosen` (N,)."""
    availability = np.full(len(services), DEFAULT_AVAILABILITY)
    latency_s = np.full(len(services), DEFAULT_LATENCY_S)
    quantile = np.full(len(services), DEFAULT_QUANTILE)

    def put(where: np.ndarray, good: float | None, latency: Latency | None) -> None:
        if good is not None:
            availability[where] = good
        if latency is not None:
            latency_s[where], quantile[where] = latency.seconds, latency.quantile

    for at, policy in enumerate(policies):
        mine = np.flatnonzero(chosen == at)
        names = [services[i] for i in mine.tolist()]
        put(mine, policy.spec.slo.availability, policy.spec.slo.latency)
        overrides = policy.spec.overrides
        which = _first(names, [o.services for o in overrides]) if overrides else None
        for k, override in enumerate(overrides):
            put(mine[which == k], override.availability, override.latency)
    return availability, latency_s, quantile


def _priorities(
    policies: Sequence[GovernorPolicy], apis: Sequence[str], chosen: IntArray
) -> tuple[IntArray, np.ndarray]:
    """(A,) tier and share of each API under policy `chosen` (A,)."""
    tier = np.array([0 if name.endswith(HIGH_SUFFIX) else 1 for name in apis], np.int32)
    share = np.ones(len(apis))
    for at, policy in enumerate(policies):
        mine = np.flatnonzero(chosen == at)
        which = _first([apis[i] for i in mine.tolist()], [p.apis for p in policy.spec.priorities])
        for k, priority in enumerate(policy.spec.priorities):
            tier[mine[which == k]], share[mine[which == k]] = priority.tier, priority.share
    return tier, share


def unmatched(policies: Sequence[GovernorPolicy], index: MeshIndex) -> list[str]:
    """One warning for each selector that matches nothing, and each floor that cannot hold, in this mesh."""
    warnings = []
    for policy in policies:
        spec, name = policy.spec, policy.metadata.name
        for field, patterns, names, what in (
            ("select.edges", spec.select.edges, index.edges, "edge"),
            ("select.apis", spec.select.apis, index.apis, "API"),
            (
                "overrides.services",
                [g for o in spec.overrides for g in o.services],
                index.services,
                "service",
            ),
            ("priorities.apis", [g for p in spec.priorities for g in p.apis], index.apis, "API"),
        ):
            warnings += [
                f"policy {name}: spec.{field}: {pattern!r} matches no {what}{_near(pattern, names)}"
                for pattern in patterns
                if pattern != "*" and not any(map(_Globs([pattern]), names))
            ]
    return warnings + _floors_too_high(policies, index)


def _near(pattern: str, names: Sequence[str]) -> str:
    meant = difflib.get_close_matches(pattern, names, n=1)
    if meant:
        return f"; did you mean {meant[0]}?"
    more = ", ..." if len(names) > 10 else ""
    return f"; there is: {', '.join(names[:10]) or 'none'}{more}"


def _floors_too_high(policies: Sequence[GovernorPolicy], index: MeshIndex) -> list[str]:
    view = resolve(policies, index)
    pool = np.bincount(index.backend_edge, minlength=len(index.edges))
    warnings: list[str] = []
    for at, rules in enumerate(view.rules):
        floor = rules.knob(Knob.WEIGHTS).minimum
        too_many = np.flatnonzero((view.edge_rules == at) & (pool * floor > 1))
        warnings += [
            f"policy {rules.name}: spec.knobs.weights: minimum {floor:g} for each of "
            f"{pool[edge]} backends of {index.edges[edge]} cannot sum to 1"
            for edge in too_many.tolist()
        ]
    return warnings

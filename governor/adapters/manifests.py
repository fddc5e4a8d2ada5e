"""Changes as manifests for Git: what every mesh's renderer shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from governor.knobs import Target


@dataclass(frozen=True)
class Manifest:
    """One object, and what a person must know before it is committed."""

    body: Mapping[str, Any]
    comments: tuple[str, ...]


@dataclass(frozen=True)
class NotRendered:
    """A change that this mesh's objects cannot say, by name and with the reason."""

    target: Target
    knob: str
    reason: str


@dataclass(frozen=True)
class Rendered:
    """Manifests in a stable order, and everything that is not in them."""

    manifests: tuple[Manifest, ...]
    left_out: tuple[NotRendered, ...]


def largest_remainder(shares: Sequence[float], total: int = 100) -> list[int]:
    """Whole numbers in proportion to `shares` (N,; >= 0, not all zero) that sum to `total` exactly."""
    scale = total / sum(shares)
    exact = [share * scale for share in shares]
    whole = [int(value) for value in exact]
    by_rest = sorted(range(len(shares)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_rest[: total - sum(whole)]:
        whole[i] += 1
    return whole


ENDPOINT_WEIGHTS = 10_000
"""What the weights of a pool's endpoints sum to, about, so that a share of 0.01 % can be said."""


def endpoint_weights(shares: Sequence[float]) -> list[int]:
    """Load balancing weights in proportion to `shares` (N,; >= 0, not all zero), each at least 1.

    Envoy takes no 0, and Istio takes it for none. Source: Envoy API v3, LbEndpoint.load_balancing_weight.
    """
    total = sum(shares)
    return [max(1, round(share / total * ENDPOINT_WEIGHTS)) for share in shares]


def to_yaml(rendered: Rendered) -> str:
    """All manifests as one YAML stream; comments say what to mind and what is left out."""
    parts = []
    for manifest in rendered.manifests:
        lines = "".join(f"# {line}\n" for line in manifest.comments)
        parts.append(f"---\n{lines}{yaml.safe_dump(dict(manifest.body), sort_keys=False, width=100)}")
    if rendered.left_out:
        parts.append("# Not in these manifests:\n")
        parts += [f"#   {_one_line(f'{n.target} {n.knob}: {n.reason}')}\n" for n in rendered.left_out]
    return "".join(parts) or "# Nothing to change.\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())

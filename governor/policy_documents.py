"""GovernorPolicy documents: what may be governed, its objectives, and how far the governor may go.

Units as everywhere: requests/second, seconds, shares 0..1. The first policy that selects an edge or an API
governs it. A knob that a policy does not name is off there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from governor.knobs import Knob
from governor.policy_view import BlastRadius, KnobRule, Mode
from governor.reasons import Reason
from governor.yaml_documents import choice

DEFAULT_AVAILABILITY = 0.999
DEFAULT_QUANTILE = 0.99
DEFAULT_LATENCY_S = 0.5

DEFAULT_RULES: Mapping[Knob, KnobRule] = {
    # One request a second keeps a limited API measurable: at zero nothing would show that it is well again.
    Knob.RATE_LIMIT: KnobRule(minimum=1.0, maximum=1e6, step_up=0.25, step_down=0.9, cool_down_periods=0),
    # Below two in flight a service with one slow request stands still.
    Knob.IN_FLIGHT_CAP: KnobRule(minimum=2.0, maximum=1e5, cool_down_periods=1, clean_periods=1),
    # A trickle has to reach a weak backend, or nobody sees it recover.
    Knob.WEIGHTS: KnobRule(minimum=0.005, maximum=1.0, dead_band=0.01, step_up=0.5, step_down=0.9),
    # Bounds are of the budget, a share of active requests; 20 % is what Envoy and Istio start from.
    Knob.RETRIES: KnobRule(minimum=0.0, maximum=0.2, step_up=1.0, step_down=1.0, clean_periods=3),
    Knob.TIMEOUT: KnobRule(minimum=0.01, maximum=60.0, dead_band=0.1, step_up=0.2, step_down=0.2),
    # More than half of a pool is below Envoy's panic threshold: ejection is ignored there.
    Knob.OUTLIER_DETECTION: KnobRule(minimum=0.0, maximum=0.5, step_up=1.0, step_down=1.0),
    Knob.CONNECTION_LIMITS: KnobRule(minimum=4.0, maximum=1e5, dead_band=0.1),
}
"""Bounds and steps of a knob where a policy does not say otherwise."""

HARD_BOUNDS: Mapping[Knob, tuple[float, float]] = {
    Knob.RATE_LIMIT: (0.0, 1e9),
    Knob.IN_FLIGHT_CAP: (1.0, 4294967295.0),
    Knob.WEIGHTS: (0.0, 1.0),
    Knob.RETRIES: (0.0, 1.0),
    Knob.TIMEOUT: (0.001, 86400.0),
    Knob.OUTLIER_DETECTION: (0.0, 1.0),
    Knob.CONNECTION_LIMITS: (1.0, 4294967295.0),
}
"""What minimum and maximum may be at all, in each knob's unit."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, allow_inf_nan=False)


Glob = Annotated[str, Field(min_length=1)]
Globs = Annotated[tuple[Glob, ...], Field(min_length=1)]


class Select(_Part):
    """Which edges and APIs the policy governs, by shell-style patterns (`*`, `?`, `[ab]`)."""

    edges: tuple[Glob, ...] = ("*",)
    apis: tuple[Glob, ...] = ("*",)


class Latency(_Part):
    """`quantile` of the requests is answered within `seconds`."""

    quantile: Annotated[float, Field(gt=0, lt=1)] = DEFAULT_QUANTILE
    seconds: Annotated[float, Field(gt=0)] = DEFAULT_LATENCY_S


class Slo(_Part):
    """Objective of requests to a service."""

    availability: Annotated[float, Field(gt=0, lt=1)] = DEFAULT_AVAILABILITY
    latency: Latency = Latency()


class Override(_Part):
    """Another objective for some services; the first that matches counts."""

    services: Globs
    availability: Annotated[float, Field(gt=0, lt=1)] | None = None
    latency: Latency | None = None


class Priority(_Part):
    """Tier (0 is served first) and share within the tier for some APIs; the first that matches counts."""

    apis: Globs
    tier: Annotated[int, Field(ge=0, le=100)] = 1
    share: Annotated[float, Field(gt=0)] = 1.0


class KnobDocument(_Part):
    """How one knob may be turned; what is left out is `DEFAULT_RULES`."""

    mode: Mode
    minimum: Annotated[float, Field(ge=0)] | None = None
    maximum: Annotated[float, Field(gt=0)] | None = None
    dead_band: Annotated[float, Field(ge=0, lt=1)] | None = None
    step_up: Annotated[float, Field(gt=0, le=10)] | None = None
    step_down: Annotated[float, Field(gt=0, le=1)] | None = None
    cool_down_periods: Annotated[int, Field(ge=0, le=10_000)] | None = None
    clean_periods: Annotated[int, Field(ge=0, le=10_000)] | None = None

    def rule(self, knob: Knob) -> KnobRule:
        """The rule with defaults filled in; ValueError if it contradicts itself."""
        given = self.model_dump(exclude_none=True)
        default = DEFAULT_RULES[knob]
        rule = KnobRule(**{**vars(default), **given})
        low, high = HARD_BOUNDS[knob]
        if rule.minimum > rule.maximum:
            raise ValueError(
                f"minimum {rule.minimum:g} is above maximum {rule.maximum:g}"
                f" (defaults of {knob}: {default.minimum:g} and {default.maximum:g})"
            )
        if rule.minimum < low or rule.maximum > high:
            raise ValueError(f"minimum and maximum must lie within {low:g} and {high:g}")
        if knob is Knob.WEIGHTS and rule.minimum > 0.5:
            raise ValueError(f"minimum {rule.minimum:g} for each of two backends cannot sum to 1")
        if rule.dead_band >= min(rule.step_up, rule.step_down):
            raise ValueError(
                f"deadBand {rule.dead_band:g} is not below stepUp {rule.step_up:g} and stepDown"
                f" {rule.step_down:g}: no step would ever be written"
            )
        return rule


class BlastRadiusDocument(_Part):
    """How much one cycle may change."""

    writes_per_cycle: Annotated[int, Field(ge=0, le=100_000)] = BlastRadius().writes_per_cycle
    traffic_share: Annotated[float, Field(ge=0, le=1)] = BlastRadius().traffic_share


class Freeze(_Part):
    """A time in which nothing is written; ISO 8601 with its offset from UTC."""

    start: datetime = Field(alias="from")
    end: datetime = Field(alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name, moment in (("from", self.start), ("to", self.end)):
            if moment.tzinfo is None:
                raise ValueError(f"{name} needs its offset from UTC, for example {moment.isoformat()}Z")
        if self.end <= self.start:
            raise ValueError(f"to {self.end.isoformat()} is not after from {self.start.isoformat()}")
        return self


def _known_code(code: str) -> str:
    # Only reasons to change something: suppressing a hold or a verdict would switch a safety off.
    allowed = [r.code for r in Reason if r.code.startswith("GOV1")]
    if code not in allowed:
        raise ValueError(f"not a reason to change something{choice(code, allowed)}")
    return code


class Spec(_Part):
    """The body of a policy."""

    select: Select = Select()
    slo: Slo = Slo()
    overrides: tuple[Override, ...] = ()
    priorities: tuple[Priority, ...] = ()
    knobs: dict[Knob, KnobDocument]
    blast_radius: BlastRadiusDocument = BlastRadiusDocument()
    suppress: tuple[Annotated[str, AfterValidator(_known_code)], ...] = ()
    freeze: tuple[Freeze, ...] = ()


class Metadata(_Part):
    """Names the policy in tables, errors and the ledger."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]


class GovernorPolicy(_Part):
    """One document."""

    api_version: Literal["governor/v1alpha1"]
    kind: Literal["GovernorPolicy"]
    metadata: Metadata
    spec: Spec

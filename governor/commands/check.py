"""`governor check`: what is there, what is missing, and what that enables."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Protocol, runtime_checkable

from governor.commands.output import ERROR, FOUND, NOTHING, given_source, settings_for, show, warn
from governor.explain.readiness import check_report, readiness
from governor.policy import load_policies, unmatched
from governor.runtime.wiring import source_of

PLANES = ("envoy", "kubernetes")


@runtime_checkable
class HasDialect(Protocol):
    """A source that asks in the words of one mesh."""

    @property
    def dialect(self) -> str:
        """Name of the dialect."""


@runtime_checkable
class KeepsHistory(Protocol):
    """A source that can say how far back it reaches."""

    def history_s(self) -> float:
        """Seconds between its oldest sample and now."""


def check_source(config: Path | None, source_url: str | None, dialect: str | None, envoy_admin: list[str]) -> int:
    """Exit code 0 if every knob has its signals, 1 if some do not; SourceError if nothing answers."""
    settings = settings_for(config, given_source(source_url, dialect, envoy_admin))
    with closing(source_of(settings)) as source:
        frame = source.observe(settings.window)
        history = source.history_s() if isinstance(source, KeepsHistory) else None
        spoken = source.dialect if isinstance(source, HasDialect) else None
    show(check_report(frame, history, spoken))
    warnings = unmatched(load_policies(settings.policies), frame.index)
    for warning in warnings:
        warn(f"warning: {warning}")
    return NOTHING if all(r.ready for r in readiness(frame)) and not warnings else FOUND


def check_plane(config: Path | None, plane: str, envoy_admin: list[str]) -> int:
    """What an Envoy's bootstrap holds for each knob and what it lacks, or what may be done in a cluster."""
    if plane not in PLANES:
        warn(f"--plane {plane}: allowed: {', '.join(PLANES)}")
        return ERROR
    if plane == "kubernetes":
        from governor.commands.check_access import check_access

        return check_access(config)
    from governor.adapters.envoy_check import check_envoy

    settings = settings_for(config)
    configured = [str(settings.plane.admin_url)] if settings.plane.admin_url else []
    addresses = envoy_admin or configured or [str(u) for u in settings.source.envoy.admin_urls]
    if not addresses:
        warn("--plane envoy: name its admin address: --envoy-admin http://127.0.0.1:9901, or plane.admin_url")
        return ERROR
    complete = True
    for address in addresses:
        report = check_envoy(address.rstrip("/"))
        show(report.text)
        complete = complete and report.complete
    return NOTHING if complete else FOUND

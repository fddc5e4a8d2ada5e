"""`governor recommend`: one cycle that can write nothing, printed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from governor.adapters.clock import SystemClock
from governor.adapters.manifests import to_yaml
from governor.adapters.manifests_istio import render
from governor.commands.output import FOUND, NOTHING, given_source, settings_for, show, warn
from governor.cycle import CycleOptions, CycleResult, GovernorState, Ports, cycle
from governor.explain.report import Advice, table, to_html, to_json
from governor.explain.rows import WRITE_GATES
from governor.knobs import Proposal
from governor.policy import load_policies, unmatched
from governor.ports import MetricSource
from governor.runtime.governing import advice_of
from governor.runtime.options import options_of
from governor.runtime.wiring import memory_ledger, plane_of, recording_source, source_of
from governor.settings import RunMode, Settings


@dataclass(frozen=True)
class Asked:
    """The command line."""

    config: Path | None
    source_url: str | None
    dialect: str | None
    envoy_admin: list[str]
    recording: Path | None
    policies: list[str]
    window_s: float | None


def print_advice(asked: Asked, output: str) -> int:
    """Look once, print what should change; exit code 0 nothing, 1 advice."""
    settings = _settings(asked)
    result = look(settings, recording_source(asked.recording) if asked.recording else source_of(settings))
    advice = advice_of(result)
    for warning in unmatched(load_policies(settings.policies), result.frame.index):
        warn(f"warning: {warning}")
    _print(advice, result, output)
    return FOUND if advice.count else NOTHING


def _settings(asked: Asked) -> Settings:
    given = given_source(asked.source_url, asked.dialect, asked.envoy_admin)
    if asked.policies:
        given["policies"] = asked.policies
    if asked.window_s:
        given["window_s"] = asked.window_s
    return settings_for(asked.config, given)


def look(settings: Settings, source: MetricSource) -> CycleResult:
    """One cycle in recommend mode, whatever the settings say, with a ledger that forgets."""
    options: CycleOptions = options_of(settings.model_copy(update={"mode": RunMode.RECOMMEND}))
    try:
        ports = Ports(source, plane_of(settings), memory_ledger(), SystemClock())
        return cycle(GovernorState(), ports, options)
    finally:
        source.close()


def _print(advice: Advice, result: CycleResult, output: str) -> None:
    if output == "json":
        sys.stdout.write(to_json(advice) + "\n")
    elif output == "html":
        sys.stdout.write(to_html(advice))
    elif output == "yaml":
        sys.stdout.write(to_yaml(render(_advised(advice), result.frame)))
    else:
        show(table(advice))


def _advised(advice: Advice) -> list[Proposal]:
    held = [h.proposal for h in advice.held if h.reason in WRITE_GATES]
    return [*advice.go, *held]

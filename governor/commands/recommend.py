"""`governor recommend`: one cycle that can write nothing, printed."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from governor.adapters.clock import SystemClock
from governor.adapters.manifests import to_yaml
from governor.adapters.manifests_istio import render
from governor.adapters.recording import RecordingEnded
from governor.commands.output import FOUND, NOTHING, given_source, settings_for, show, warn
from governor.cycle import cycle
from governor.domain import MeshFrame
from governor.errors import DocumentError, SourceError
from governor.explain.report import Advice, table, to_html, to_json
from governor.explain.rows import WRITE_GATES
from governor.knobs import Proposal
from governor.learned import LearnedState, remembering
from governor.policy import load_policies, unmatched
from governor.ports import MetricSource
from governor.runtime.governing import advice_of
from governor.runtime.options import options_of
from governor.runtime.wiring import memory_ledger, models_of, past_of, plane_of, recording_source, source_of
from governor.settings import RunMode, Settings
from governor.turn import BlindCycle, CycleOptions, CycleResult, GovernorState, Ports


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
    """Look once, or through a whole recording, and print what should change; exit code 0 nothing, 1 advice."""
    settings = _settings(asked)
    if asked.recording is not None:
        result = look_through(settings, recording_source(asked.recording))
    else:
        if settings.source.kind == "envoy":
            warn(f"watching for {settings.window:g} s ...")
        result = look(settings, source_of(settings))
    advice = advice_of(result)
    for warning in unmatched(load_policies(settings.policies), result.frame.index):
        warn(f"warning: {warning}")
    _print(advice, result, output)
    return FOUND if advice.count else NOTHING


def _settings(asked: Asked) -> Settings:
    given = given_source(asked.source_url, asked.dialect, asked.envoy_admin)
    if asked.recording is not None and given:
        raise DocumentError("--recording is a source of its own; give it, or options of another source")
    if asked.policies:
        given["policies"] = asked.policies
    if asked.window_s:
        given["window_s"] = asked.window_s
    return settings_for(asked.config, given)


class _Seen:
    """MetricSource of one frame: looked at before anything else is asked, so that its errors come first."""

    def __init__(self, frame: MeshFrame) -> None:
        self._frame = frame

    def observe(self, window_s: float) -> MeshFrame:  # noqa: ARG002 - it is there already
        return self._frame

    def close(self) -> None:
        """Nothing to release."""


def look(settings: Settings, source: MetricSource) -> CycleResult:
    """One cycle in recommend mode, whatever the settings say, with a ledger that forgets."""
    ports, options = _looking(settings, source)
    with closing(source):
        seen = _Seen(source.observe(options.window_s))
        state = GovernorState(learned=_past(settings))
        return cycle(state, replace(ports, source=seen), _with_model(settings, options))


def look_through(settings: Settings, source: MetricSource) -> CycleResult:
    """As `look`, over all frames of a recording in turn: the last cycle, which knows all that came before."""
    ports, options = _looking(settings, source)
    options = _with_model(settings, options)
    state, last = GovernorState(), None
    with closing(source):
        while True:
            try:
                last = cycle(state, ports, options)
            except BlindCycle as error:
                if last is not None and isinstance(error.__cause__, RecordingEnded):
                    return last
                raise
            state = last.state


def _past(settings: Settings) -> LearnedState:
    """What the source knows of the load before now; the forecast does without where it knows nothing."""
    fetch = past_of(settings)
    if fetch is None:
        return LearnedState()
    try:
        return remembering(*fetch())
    except SourceError as error:
        warn(f"warning: no load history, the forecast knows only of now: {error}")
        return LearnedState()


def _with_model(settings: Settings, options: CycleOptions) -> CycleOptions:
    with closing(models_of(settings)) as store:
        trained, reason = store.current()
    # Without a folder of one's own it is no news that the naive forecast serves; the forecast's words say so.
    if reason and settings.models is not None:
        warn(f"warning: {reason}")
    return replace(options, trained=trained)


def _looking(settings: Settings, source: MetricSource) -> tuple[Ports, CycleOptions]:
    options = options_of(settings.model_copy(update={"mode": RunMode.RECOMMEND}))
    return Ports(source, plane_of(settings), memory_ledger(), SystemClock()), options


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

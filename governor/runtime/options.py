"""From settings to what one cycle is told."""

from __future__ import annotations

from governor.learned import LearnedOptions
from governor.policy import load_policies
from governor.settings import RunMode, Settings
from governor.turn import CycleOptions

STEP_S = 300.0
"""Step of the load history: fine enough for the next minutes, coarse enough for a week of 10,000 services."""


def options_of(settings: Settings) -> CycleOptions:
    """Options of one cycle; DocumentError if a policy is wrong."""
    return CycleOptions(
        policies=load_policies(settings.policies),
        enforce=settings.mode is RunMode.ENFORCE,
        period_s=settings.period_s,
        window_s=settings.window,
        look_s=settings.look_s,
        learned=LearnedOptions(step_s=STEP_S),
        paused=settings.pause_file is not None and settings.pause_file.exists(),
    )

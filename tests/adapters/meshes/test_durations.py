"""Durations as objects spell them."""

from __future__ import annotations

import pytest

from governor.adapters.meshes.durations import milliseconds


@pytest.mark.parametrize(("value_s", "text"), [(1.5, "1500ms"), (0.0001, "1ms"), (2.0, "2000ms")])
def test_durations_are_whole_milliseconds(value_s: float, text: str) -> None:
    assert milliseconds(value_s) == text

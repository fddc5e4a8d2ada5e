"""The control planes that a lab can be run through, by name."""

from __future__ import annotations

from typing import Literal

from governor.lab.through.configuration import Configuration, FileConfiguration

Through = Literal["istiod"]


def configuration(through: Through | None) -> Configuration:
    """A configuration that was not used yet; that of files without a name."""
    if through == "istiod":
        from governor.lab.through.istio import IstioConfiguration

        return IstioConfiguration()
    return FileConfiguration()

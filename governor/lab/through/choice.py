"""The control planes that a lab can be run through, by name."""

from __future__ import annotations

from typing import Literal

from governor.lab.through.configuration import Configuration, FileConfiguration

Through = Literal["istiod", "istiod-subsets", "envoy-gateway"]
"""`istiod-subsets`: traffic is split by routes, between subsets of one replica each."""


def configuration(through: Through | None) -> Configuration:
    """A configuration that was not used yet; that of files without a name."""
    if through in {"istiod", "istiod-subsets"}:
        from governor.lab.through.istio import IstioConfiguration

        return IstioConfiguration(subsets=through == "istiod-subsets")
    if through == "envoy-gateway":
        from governor.lab.through.envoy_gateway import EnvoyGatewayConfiguration

        return EnvoyGatewayConfiguration()
    return FileConfiguration()

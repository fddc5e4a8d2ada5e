"""The control planes that a lab can be run through, by name."""

from __future__ import annotations

from governor.lab.through import Through
from governor.lab.through.configuration import Configuration, FileConfiguration


def configuration(through: Through | None) -> Configuration:
    """A configuration that was not used yet; that of files without a name."""
    if through in {"istiod", "istiod-subsets"}:
        from governor.lab.through.istio import IstioConfiguration

        return IstioConfiguration(subsets=through == "istiod-subsets")
    if through == "envoy-gateway":
        from governor.lab.through.envoy_gateway import EnvoyGatewayConfiguration

        return EnvoyGatewayConfiguration()
    return FileConfiguration()

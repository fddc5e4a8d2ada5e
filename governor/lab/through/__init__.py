"""Where the Envoys of a lab have their configuration from: files of the lab's own, or a real control plane."""

from __future__ import annotations

from typing import Literal

Through = Literal["istiod", "istiod-subsets", "envoy-gateway"]
"""The control planes by name; `istiod-subsets`: routes split traffic between subsets of one replica each."""

"""What was shown on a real API server, one JSON line for each mesh and knob."""

from __future__ import annotations

import json
import os
from pathlib import Path

FILE = "CAPABILITIES_FILE"
"""Names the file that lines are added to; nothing is kept without it."""


def record(mesh: str, knob: str, shown: str) -> None:
    """Add one line."""
    if path := os.environ.get(FILE):
        with Path(path).open("a") as lines:
            lines.write(json.dumps({"mesh": mesh, "knob": knob, "shown": shown}) + "\n")

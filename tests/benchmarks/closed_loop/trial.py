"""One trial: one scenario, one arm, one seed, in a process of its own.

`python -m tests.benchmarks.closed_loop.trial DIRECTORY ADDRESS` reads DIRECTORY/trial.json and leaves the lab's
load.npz and outcome.json there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from governor.errors import GovernorError
from governor.lab.documents import Scenario
from governor.lab.governed import run_governed
from governor.lab.mesh import MeshLab
from governor.lab.processes import tie_to_parent
from governor.lab.results import LoadResult
from governor.lab.through import Through
from governor.lab.through.choice import configuration
from governor.policy import load_policies
from governor.turn import CycleOptions, CycleResult
from tests.benchmarks.closed_loop.pulse import Pulse

PERIOD_S = 5.0
PRESET = "balanced"


@dataclass(frozen=True)
class Trial:
    """What to run. `scenario` carries the arm's data plane and the seed."""

    scenario: Scenario
    arm: str
    governed: bool
    through: Through | None = None
    """The control plane that configures the Envoys; None: files."""

    @property
    def name(self) -> str:
        """For people: `overload, static-cap, seed 2`."""
        return f"{self.scenario.name}, {self.arm}, seed {self.scenario.seed}"


@dataclass(frozen=True)
class Write:
    """One change of a setting: `cycle` counts from 1, 5 s each, from the moment the governor is let in."""

    cycle: int
    target: str
    knob: str
    undo: bool


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one trial gave."""

    load: LoadResult
    writes: tuple[Write, ...]
    blind_cycles: int
    cpu_s: Mapping[str, float]
    """CPU time of the Envoy and of the services; empty where the system does not tell."""
    stall_s: float
    """Longest time for which the machine kept this process waiting while the load ran."""


def write_trial(trial: Trial, directory: Path) -> None:
    """Put the trial where its process looks for it."""
    content = {
        "scenario": trial.scenario.model_dump(mode="json"),
        "governed": trial.governed,
        "through": trial.through,
    }
    (directory / "trial.json").write_text(json.dumps(content), encoding="utf-8")


def read_outcome(directory: Path) -> Outcome:
    """What a trial that ended well left; OSError, LabError or ValueError if it did not."""
    content: dict[str, Any] = json.loads((directory / "outcome.json").read_text(encoding="utf-8"))
    writes = tuple(Write(**write) for write in content["writes"])
    load = LoadResult.load(directory / "lab" / "load.npz")
    return Outcome(load, writes, content["blind_cycles"], content["cpu_s"], content["stall_s"])


def run_trial(directory: Path, address: str) -> None:
    """Run the trial in `directory` with everything on `address`. Raises LabError and DocumentError."""
    content: dict[str, Any] = json.loads((directory / "trial.json").read_text(encoding="utf-8"))
    scenario = Scenario.model_validate(content["scenario"])
    writes: list[Write] = []
    blind = 0
    configured = configuration(content["through"])
    with MeshLab(scenario, directory / "lab", address, configuration=configured) as lab, Pulse() as pulse:
        if content["governed"]:
            options = CycleOptions(load_policies([PRESET]), enforce=True, period_s=PERIOD_S, window_s=PERIOD_S)
            governed = run_governed(lab, options)
            writes = [write for result in governed.cycles for write in writes_of(result)]
            blind = len(governed.blind)
        else:
            lab.run()
        cpu = {name: spent for name, pid in lab.process_ids.items() if (spent := cpu_seconds(pid)) is not None}
    outcome = {
        "writes": [asdict(write) for write in writes],
        "blind_cycles": blind,
        "cpu_s": cpu,
        "stall_s": pulse.longest_s,
    }
    (directory / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def writes_of(result: CycleResult) -> list[Write]:
    """The settings a cycle changed, by decision and by undoing one."""
    number = result.state.number
    undone = [v.pending.receipt for v in result.verdicts if not v.keep]
    return [
        *(Write(number, str(r.target), r.knob.value, undo=True) for r in undone),
        *(Write(number, str(r.target), r.knob.value, undo=False) for r in result.receipts),
    ]


def cpu_seconds(pid: int) -> float | None:
    """CPU time, user and system, of a running process; None where /proc does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def main() -> int:
    """Run one trial; SIGTERM ends its lab first."""
    tie_to_parent()

    def ended(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, ended)
    try:
        run_trial(Path(sys.argv[1]), sys.argv[2])
    except KeyboardInterrupt:
        return 130
    except GovernorError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One scenario in two labs at the same time, one left alone and one governed: the same load, the same faults."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from governor.adapters.ledger import SqliteLedger
from governor.errors import LabError
from governor.lab.documents import Scenario
from governor.lab.envoy_process import ask
from governor.lab.governed import GovernedRun, run_governed
from governor.lab.mesh import LEAD_IN_S, MeshLab, Progress
from governor.lab.report.build import Floats, by_second, report_data
from governor.lab.report.data import ArmName, ReportData
from governor.lab.results import LoadResult
from governor.ports import Entry
from governor.turn import CycleOptions

ENTRIES = 1_000_000
"""More than any run writes: all of the ledger."""
RETRIES = "/stats?filter=^cluster\\..*\\.upstream_rq_retry$&usedonly"
OnSecond = Callable[[ArmName, Progress], None]
"""Called from a thread of each arm once a second."""


@dataclass(frozen=True, eq=False)
class SideBySide:
    """What both runs of a scenario gave."""

    scenario: Scenario
    ungoverned: LoadResult
    governed: GovernedRun
    epoch: float
    """Start of the governed run's load, seconds since the epoch."""
    entries: Sequence[Entry]
    """The governed run's ledger, newest first."""
    retries: Mapping[ArmName, Floats]
    """Attempts after the first that the proxies sent, per second; NaN where Envoy did not say."""
    backend_names: Mapping[str, str]
    """`address:port` of the governed run's replicas to `service-number`."""

    def report(self) -> ReportData:
        """Its numbers and words for the page, the picture and the terminal."""
        return report_data(
            self.scenario,
            self.governed.load,
            self.ungoverned,
            self.entries,
            self.epoch,
            self.backend_names,
            self.retries,
        )


def run_side_by_side(
    scenario: Scenario, home: Path, address: str, options: CycleOptions, on_second: OnSecond
) -> SideBySide:
    """Run `scenario` once ungoverned on `address` and once governed with `options` on the address after it.

    Files of both go below `home`. An interrupt, or a part of either lab that dies, ends both: no process is left
    when this returns or raises. Raises LabError and LedgerError.
    """
    with ExitStack() as stack:
        alone = stack.enter_context(MeshLab(scenario, home / "ungoverned", address))
        governed = stack.enter_context(MeshLab(scenario, home / "governed", following(address)))
        ledger = stack.enter_context(closing(SqliteLedger(home / "ledger.sqlite")))
        counts: dict[ArmName, dict[int, float]] = {"ungoverned": {}, "governed": {}}

        def second(arm: ArmName, lab: MeshLab, progress: Progress) -> None:
            counts[arm][progress.second] = _retries_so_far(lab)
            on_second(arm, progress)

        epoch = time.time() + LEAD_IN_S
        left_alone, under_governor = _both(
            partial(alone.run, partial(second, "ungoverned", alone)),
            partial(run_governed, governed, options, ledger, partial(second, "governed", governed)),
            (alone, governed),
        )
        return SideBySide(
            scenario,
            left_alone,
            under_governor,
            epoch,
            ledger.entries(limit=ENTRIES),
            {arm: by_second(found, left_alone.seconds) for arm, found in counts.items()},
            _backend_names(governed),
        )


def following(address: str) -> str:
    """The IP address after `address`; LabError if there is none."""
    try:
        return str(ipaddress.ip_address(address) + 1)
    except ValueError as error:
        raise LabError(f"{address!r} is not an IP address: use one in 127.0.0.0/8") from error


def _both(
    left: Callable[[], LoadResult], right: Callable[[], GovernedRun], labs: tuple[MeshLab, MeshLab]
) -> tuple[LoadResult, GovernedRun]:
    """Both results; whatever goes wrong in either, or here, stops both labs so that no thread is left waiting."""
    with ThreadPoolExecutor(2, thread_name_prefix="arm") as pool:
        try:
            first, second = pool.submit(left), pool.submit(right)
            runs: tuple[Future[Any], ...] = (first, second)
            done, _ = wait(runs, return_when=FIRST_EXCEPTION)
            for run in done:
                run.result()  # raises what went wrong
            return first.result(), second.result()
        except BaseException:
            for lab in labs:
                lab.stop()
            raise


def _retries_so_far(lab: MeshLab) -> float:
    """Sum of Envoy's retry counters; NaN if it does not answer."""
    text = ask(lab.address, next(iter(lab.layout.admin_ports.values())), RETRIES)
    if text is None:
        return float("nan")
    return float(sum(int(line.rsplit(": ", 1)[1]) for line in text.splitlines() if ": " in line))


def _backend_names(lab: MeshLab) -> dict[str, str]:
    return {
        f"{lab.address}:{port}": f"{service}-{number}"
        for service, ports in lab.layout.replica_ports.items()
        for number, port in enumerate(ports)
    }

"""One governor: the cycle with its state, called by schedule and by hand alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from governor.cycle import cycle
from governor.domain import MeshIndex
from governor.early import look
from governor.errors import GovernorError
from governor.explain.report import Advice
from governor.guard.held import Held
from governor.policy import unmatched
from governor.record import LISTED
from governor.runtime.leading import Leading
from governor.runtime.learning import Learning
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.status import Status
from governor.turn import BlindCycle, CutShort, CycleOptions, CycleResult, GovernorState, Ports

log = structlog.get_logger("governor")


def advice_of(result: CycleResult) -> Advice:
    """All that one cycle has to say: builds every proposal."""
    return _advice(result, tuple(result.plan.held), result.notes)


def _advice(result: CycleResult, held: Sequence[Held], notes: tuple[str, ...]) -> Advice:
    frame = result.frame
    findings = result.learned.findings
    return Advice(frame.at, frame.window_s, result.plan.go, held, frame.gaps, notes, findings)


def summary_of(result: CycleResult) -> Advice:
    """What one cycle has to say, on one page: of what is held only what the ledger describes, too.

    Built now: the page is drawn in another thread, which must not ask the control plane anything.
    """
    held, notes = result.plan.held, result.notes
    shown = held[:LISTED]
    if len(shown) < len(held):
        more = (
            f"Of {len(held)} changes held back these are the {len(shown)} most pressing; `recommend` shows all."
        )
        notes = (*notes, more)
    return _advice(result, shown, notes)


class Governing:
    """Calls `cycle` and passes what it did on to logs, metrics and the web page."""

    def __init__(
        self,
        ports: Ports,
        options: Callable[[], CycleOptions],
        metrics: GovernorMetrics,
        status: Status,
        state: GovernorState | None = None,
        learning: Learning | None = None,
        leading: Leading | None = None,
    ) -> None:
        self._ports = ports
        self._options = options
        self._metrics = metrics
        self._status = status
        self._state = state or GovernorState()
        self._learning = learning
        self._leading = leading
        self._index: MeshIndex | None = None
        self._warned: set[str] = set()
        self._turn = threading.Lock()
        """Held while a cycle or a look is under way."""

    def look(self) -> CycleResult | None:
        """A short look between two cycles; None if there is nothing to do, or while a cycle runs."""
        if (self._leading is not None and not self._leading.leads) or not self._turn.acquire(blocking=False):
            return None
        try:
            return self._look()
        finally:
            self._turn.release()

    def _look(self) -> CycleResult | None:
        try:
            result = look(self._state, self._ports, self._options())
        except CutShort as error:
            self._state = error.state
            self._failed(error.__cause__ or error)
            return None
        if result is not None:
            self._state = result.state
            self._metrics.early.inc()
            self._tell_decisions(result)
            log.info("between two cycles", go=len(result.plan.go), held=len(result.plan.held))
        return result

    def once(self) -> CycleResult | None:
        """One cycle; None if it failed: what it did until then is kept, and the next cycle tries again."""
        with self._turn:
            return self._once()

    def _once(self) -> CycleResult | None:
        number = self._status.snapshot.finished + 1
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(cycle=number):
            log.debug("cycle begins")
            try:
                result = cycle(*self._given())
            except (BlindCycle, CutShort) as error:
                self._state = error.state
                cause = error.__cause__ or error
                self._failed(cause)
                if isinstance(cause, GovernorError):
                    return None
                raise  # a fault of ours: the scheduler counts it, and the next cycle still comes
            except GovernorError as error:
                self._failed(error)
                return None
            except Exception as error:
                self._failed(error)
                raise
            self._state = result.state
            self._tell(result, time.monotonic() - started)
        return result

    def _given(self) -> tuple[GovernorState, Ports, CycleOptions]:
        options = self._options()
        if self._leading is not None:
            self._state, options = self._leading.before(self._state, options)
        if self._learning is not None:
            self._state, options = self._learning.before(self._state, options, self._metrics, self._status)
        return self._state, self._ports, options

    def _failed(self, error: BaseException) -> None:
        self._metrics.cycles.labels("failed").inc()
        self._status.failed(f"{type(error).__name__}: {error}")
        log.error("cycle failed, the next one tries again", error=str(error), kind=type(error).__name__)

    def _warn(self, index: MeshIndex) -> None:
        """Once for each selector of a policy that fits nothing in this mesh."""
        if index is self._index:
            return
        self._index = index
        for warning in unmatched(self._options().policies, index):
            if warning not in self._warned:
                log.warning("policy", warning=warning)
                self._warned.add(warning)

    def _tell(self, result: CycleResult, seconds: float) -> None:
        frame, plan = result.frame, result.plan
        self._warn(frame.index)
        self._metrics.cycles.labels("ok").inc()
        self._metrics.cycle_seconds.observe(seconds)
        self._metrics.last_cycle.set(self._ports.clock.now())
        index = frame.index
        sizes = {"services": len(index.services), "edges": len(index.edges)}
        sizes |= {"backends": len(index.backends), "apis": len(index.apis)}
        self._metrics.framed(frame.age_s, frame.trust, len(frame.gaps), sizes)
        self._metrics.learned(result.learned)
        self._status.succeeded(summary_of(result))
        self._tell_decisions(result)
        log.info("cycle", seconds=round(seconds, 3), go=len(plan.go), held=len(plan.held), gaps=len(frame.gaps))

    def _tell_decisions(self, result: CycleResult) -> None:
        plan = result.plan
        self._metrics.decided(plan.go, plan.held.counts(), result.receipts, [v.reason for v in result.verdicts])
        for receipt in result.receipts:
            log.info("written", target=str(receipt.target), knob=receipt.knob.value, version=receipt.version)
        for note in result.notes:
            log.info("note", text=note)

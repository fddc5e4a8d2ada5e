"""What the learned stages need from outside the cycle: the model in force, the load before the start.

The history of a week of 10,000 services takes a while to fetch: it is fetched beside the cycles, and taken up by
the first one after it is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import structlog

from governor.errors import SourceError
from governor.ports import ModelStore
from governor.predict.demand import with_past
from governor.predict.history import RateHistory
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.status import Status
from governor.turn import CycleOptions, GovernorState

log = structlog.get_logger("governor")
Past = tuple[tuple[str, ...], RateHistory]
"""Services and their load."""


class Learning:
    """Hands each cycle its model, and the first ones their past."""

    def __init__(self, store: ModelStore, past: Callable[[], Past] | None = None) -> None:
        """`past` fetches the load history; None where the source keeps none."""
        self._store = store
        self._told: str | None = None
        self._past: Future[Past] | None = None if past is None else _beside(past)

    def before(
        self, state: GovernorState, options: CycleOptions, metrics: GovernorMetrics, status: Status
    ) -> tuple[GovernorState, CycleOptions]:
        """The state and the options that the next cycle begins with."""
        trained, reason = self._store.current()
        if reason != self._told:
            if reason:
                log.warning("model", refused=reason)
            elif trained is not None:
                log.info("model", serving=trained.name)
            self._told = reason
        metrics.models(trained, reason)
        status.models = reason
        return self._with_past(state, options), replace(options, trained=trained)

    def close(self) -> None:
        """Release the store; a history that is still being fetched is given up."""
        self._store.close()

    def _with_past(self, state: GovernorState, options: CycleOptions) -> GovernorState:
        demand = state.learned.demand
        if self._past is None or demand is None or not self._past.done():
            return state
        fetched, self._past = self._past, None
        try:
            services, history = fetched.result()
        except SourceError as error:
            log.warning("no load history, the forecast starts from now", error=str(error))
            return state
        assert history.step_s == options.learned.step_s
        log.info("load history taken up", services=len(services), steps=history.values.shape[1])
        demand = with_past(demand, services, history)
        return replace(state, learned=replace(state.learned, demand=demand))


def _beside(past: Callable[[], Past]) -> Future[Past]:
    """Fetch in a thread that does not keep the process from ending."""
    answer: Future[Past] = Future()

    def fetch() -> None:
        try:
            answer.set_result(past())
        except BaseException as error:  # noqa: BLE001 - raised where the answer is taken
            answer.set_exception(error)

    threading.Thread(target=fetch, name="history", daemon=True).start()
    return answer

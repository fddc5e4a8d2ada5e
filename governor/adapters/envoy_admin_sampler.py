"""A thread that scrapes pages of metrics at a steady step and keeps the last two minutes of them."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray

from governor.adapters.envoy_admin_proxy import CLUSTERS, SERVER_INFO, Node, hosts_in, node_in, services_in
from governor.adapters.envoy_admin_series import SeriesBook
from governor.adapters.network_errors import root_cause
from governor.errors import SourceError, SourceRefused, SourceUnreachable
from governor.ports import Clock

Floats = NDArray[np.float64]
KEEP_S = 120.0
Said = tuple[Node, dict[str, tuple[str, str | None]]]
"""Who an Envoy is, and callee and backend of its clusters."""


@dataclass(frozen=True, eq=False)
class Page:
    """One good scrape; values by the slots that its book had then."""

    at: float
    """Seconds of a clock that never jumps."""
    values: Floats


class Target:
    """One page: its address, its series, and what went wrong last; `admin` is the address of its Envoy."""

    def __init__(self, url: str, name: str, admin: str | None = None) -> None:
        self.url = url
        self.name = name
        self._admin = admin
        """None once it is known whose page it is, or if it is no Envoy's."""
        self.book = SeriesBook(name)
        self.error: SourceError | None = None

    def identify(self, session: requests.Session, timeout_s: float, hosts: set[str]) -> Said | None:
        """What the page's Envoy says of itself, once; what it leads to is added to `hosts`.

        None if that is known already, if the page is no Envoy's, or with the reason in `error`.
        """
        if self._admin is None:
            return None
        try:
            info, clusters = (
                _parsed(fetch(session, self._admin + page, self.name, timeout_s), self.name)
                for page in (SERVER_INFO, CLUSTERS)
            )
        except SourceError as error:
            self.error = error
            return None
        hosts |= hosts_in(clusters)
        self._admin = None
        return node_in(info), services_in(clusters)

    def scrape(self, session: requests.Session, timeout_s: float) -> Page | None:
        """One page, or None with the reason in `error`."""
        if self._admin is not None:
            return None
        started = time.monotonic()
        try:
            text = fetch(session, self.url, self.name, timeout_s)
            ended = time.monotonic()
            values = self.book.read(text)
        except SourceError as error:
            self.error = error
            return None
        self.error = None
        return Page((started + ended) / 2, values)


@dataclass(frozen=True, eq=False)
class Sweep:
    """One look at all targets, in their order."""

    wall: float
    """Seconds since the epoch."""
    pages: tuple[Page | None, ...]


def fetch(session: requests.Session, url: str, name: str, timeout_s: float) -> str:
    """Text of one page; SourceUnreachable if there is no answer, SourceRefused if it is an error."""
    try:
        answer = session.get(url, timeout=timeout_s)
    except requests.exceptions.ChunkedEncodingError as error:
        raise SourceRefused(f"{name} broke off in the middle of its answer: {error}") from error
    except requests.Timeout as error:
        raise SourceUnreachable(
            f"{name} did not answer within {timeout_s:g} s: is it overloaded, or is a firewall in between?"
        ) from error
    except requests.RequestException as error:
        raise SourceUnreachable(
            f"{name} cannot be reached ({root_cause(error)}): is it running, and is this its admin or metrics "
            "address?"
        ) from error
    if answer.status_code != requests.codes.ok:
        raise SourceRefused(f"{name} answers {answer.status_code}: {answer.text[:200].strip()}")
    return answer.text


def _parsed(text: str, name: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(text)
    except ValueError as error:
        raise SourceRefused(f"{name} answers with what is no JSON: {error}") from error
    return found


class Sampler:
    """Scrapes `targets` every `step_s` from its own thread until `close`."""

    def __init__(self, targets: Sequence[Target], step_s: float, timeout_s: float, clock: Clock) -> None:
        self.targets = tuple(targets)
        self.step_s = step_s
        self.timeout_s = timeout_s
        self.session = requests.Session()
        self.session.trust_env = False  # admin addresses are local: never through a proxy
        self._clock = clock
        self._sweeps: deque[Sweep] = deque(maxlen=math.ceil(KEEP_S / step_s) + 1)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._fault: Exception | None = None
        self._hosts: set[str] = set()
        """Callees of all Envoys."""
        self._thread = threading.Thread(target=self._run, name="envoy-admin-sampler", daemon=True)
        self._thread.start()

    def sweeps(self) -> tuple[Sweep, ...]:
        """What there is, oldest first."""
        with self._changed:
            if self._fault is not None:
                raise self._fault
            return tuple(self._sweeps)

    def wait(self, history_s: float, timeout_s: float) -> tuple[Sweep, ...]:
        """As `sweeps`, once they span `history_s`, the last one brought nothing, or `timeout_s` have passed."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (
                not self._enough(history_s) and self._fault is None and (left := deadline - time.monotonic()) > 0
            ):
                self._changed.wait(left)
        return self.sweeps()

    def close(self) -> None:
        """Stop the thread and close connections; returns when the scrape under way is over."""
        self._stop.set()
        self._thread.join()
        self.session.close()

    def _enough(self, history_s: float) -> bool:
        good = [s for s in self._sweeps if any(s.pages)]
        if self._sweeps and not good:
            return True
        return len(good) > 1 and good[-1].wall - good[0].wall >= history_s - 0.1 * self.step_s

    def _identify(self) -> None:
        # All first, then the names: an Envoy may not know its own host, but those that call it do.
        found = [(t, t.identify(self.session, self.timeout_s, self._hosts)) for t in self.targets]
        for target, said in found:
            if said is not None:
                node, services = said
                target.book.proxy = node.proxy(self._hosts, services)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                self._identify()
                pages = tuple(t.scrape(self.session, self.timeout_s) for t in self.targets)
            except Exception as error:  # a fault of ours must reach the caller, not die with the thread
                with self._changed:
                    self._fault = error
                    self._changed.notify_all()
                raise
            with self._changed:
                self._sweeps.append(Sweep(self._clock.now(), pages))
                self._changed.notify_all()
            due = max(due + self.step_s, time.monotonic())
            self._stop.wait(due - time.monotonic())

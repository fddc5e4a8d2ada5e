"""The knobs of an Envoy that reads its configuration from files: no control plane, no restart.

In-flight caps, retry budgets and connection limits go by RTDS, replica weights by EDS, retries and timeouts by
RDS, rate limits by ECDS: the pushes that drop no connection and forget no ejection. A write returns when Envoy
shows the new version in force; what Envoy refuses is taken back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from governor.adapters.envoy_files_admin import EnvoyAdmin, Subscriptions, scope_of
from governor.adapters.envoy_files_change import Edit
from governor.adapters.envoy_files_edits import edits_for, value_of
from governor.adapters.envoy_files_store import XdsDirectory, XdsFile, serialise
from governor.adapters.envoy_files_values import Catalogue, catalogue
from governor.adapters.inexpressible import Inexpressible
from governor.domain import FloatArray, MeshIndex
from governor.errors import ControlPlaneError, SourceError, WriteRejected, WriteUnconfirmed
from governor.knobs import Knob, KnobState, KnobValue, Proposal, Receipt, Target

CONFIRM_S = 3.0
UNCHANGED = "unchanged"


class EnvoyFilesControlPlane:
    """ControlPlane over the discovery files in `directory` and the Envoy whose admin interface is `admin_url`."""

    def __init__(self, directory: Path, admin_url: str, *, confirm_s: float = CONFIRM_S) -> None:
        self._directory = XdsDirectory(directory)
        self._admin = EnvoyAdmin(admin_url)
        self._confirm_s = confirm_s
        self._known: Catalogue | None = None
        self._state: tuple[Catalogue, MeshIndex, KnobState] | None = None

    def read(self, index: MeshIndex) -> KnobState:
        """Settings in force as the files say; ControlPlaneError naming a file that cannot be read."""
        files = self._catalogue()
        if self._state and self._state[0] is files and self._state[1].same_names(index):
            return self._state[2]
        state = knob_state(files, index)
        self._state = files, index, state
        return state

    def refusal(self, proposal: Proposal) -> str | None:
        """Why the files cannot say what is proposed, or None; as they were when they were last read."""
        try:
            edits_for(self._known or self._catalogue(), proposal.target, proposal.proposed)
        except Inexpressible as error:
            return str(error)
        return None

    def write(self, target: Target, knob: Knob, value: KnobValue) -> Receipt:
        """Set one knob; returns once Envoy shows it in force, without a write if the files say so already.

        Raises ControlPlaneError if the value cannot be said or a file is damaged (nothing written),
        WriteRejected if Envoy refuses it and WriteUnconfirmed if it does not answer (the old file is back).
        """
        files = self._catalogue()
        before = value_of(files, target, knob)
        try:
            edits = edits_for(files, target, value)
        except Inexpressible as error:
            raise ControlPlaneError(f"{knob.value} of {target}: {error}; nothing was written") from error
        done: list[Edit] = []
        details: dict[str, str] = {}
        version = UNCHANGED
        for edit in edits:
            try:
                version = self._apply(files, edit)
            except ControlPlaneError:
                for earlier in reversed(done):
                    self._put_back(earlier, files.files[earlier.path])
                raise
            done.append(edit)
            details[edit.kind] = str(edit.path)
        # Not read from disk again: the write is in force, and nothing may make it look as if it were not.
        now = {e.path: replace(files.files[e.path], document=e.document) for e in done}
        after = value_of(catalogue({**files.files, **now}, files), target, knob)
        return Receipt(target, knob, before, after, version, details)

    def _catalogue(self) -> Catalogue:
        files = self._directory.load()
        if self._known is None or not _same(self._known.files, files):
            self._known = catalogue(files, self._known)
        return self._known

    def _apply(self, files: Catalogue, edit: Edit) -> str:
        """Write one file and wait for Envoy; the version that is in force then."""
        scope = scope_of(edit.kind, edit.name)
        old = files.files[edit.path]
        before = self._subscriptions(scope, edit)
        version = f"governor-{time.time_ns():x}"
        self._directory.replace(edit.path, serialise({**edit.document, "version_info": version}))
        try:
            outcome, now = self._admin.await_update(scope, before, version, self._confirm_s)
            wrong = self._runtime_differs(edit) if outcome == "taken" else ""
        except SourceError as error:
            outcome, now, wrong = "silent", before, str(error)
        if outcome == "taken" and not wrong:
            return version
        back = self._put_back(edit, old, now)
        if outcome == "refused":
            raise WriteRejected(f"Envoy at {self._admin.url} refused {edit.path}: {_why(before, now)}; {back}")
        why = wrong or f"it showed no new version within {self._confirm_s:g} s"
        raise WriteUnconfirmed(f"Envoy at {self._admin.url} did not confirm {edit.path}: {why}; {back}")

    def _subscriptions(self, scope: str, edit: Edit) -> Subscriptions:
        try:
            found = self._admin.subscriptions(scope)
        except SourceError as error:
            raise WriteUnconfirmed(f"{error}; nothing was written") from error
        if not found:
            raise WriteUnconfirmed(
                f"Envoy at {self._admin.url} has no {edit.kind.upper()} subscription to {edit.name!r}: run "
                "'governor check --plane envoy'; nothing was written"
            )
        return found

    def _runtime_differs(self, edit: Edit) -> str:
        """Which runtime key does not read as written (another layer wins, say); empty if all do."""
        if not edit.runtime:
            return ""
        values = self._admin.runtime()
        for key, wanted in edit.runtime.items():
            if wanted is not None and not _equal(values.get(key), wanted):
                return (
                    f"runtime key {key} reads {values.get(key)!r} and not {wanted:g}: does a later layer set it?"
                )
        return ""

    def _put_back(self, edit: Edit, old: XdsFile, before: Subscriptions | None = None) -> str:
        """Restore the file as it was; says whether Envoy took it. ControlPlaneError if it cannot be restored."""
        scope = scope_of(edit.kind, edit.name)
        try:
            known = before or self._admin.subscriptions(scope)
            self._directory.replace(edit.path, old.content)
            in_force = str(old.document.get("version_info", ""))
            outcome, _ = self._admin.await_update(scope, known, in_force, self._confirm_s)
        except SourceError:
            self._directory.replace(edit.path, old.content)
            return "the old file is back in place"
        return "the old file is back in force" if outcome == "taken" else "the old file is back in place"


def knob_state(files: Catalogue, index: MeshIndex) -> KnobState:
    """The files' values over `index`; NaN where nothing is set or nothing is known."""
    edges = index.edges

    def breaker(priority: str, key: str) -> FloatArray:
        return _array([files.breaker(e, priority, key) for e in edges])

    outlier = np.array([files.outlier(e) for e in edges], np.float32).reshape(-1, 2)
    timeouts = np.array([files.timeouts(e) for e in edges], np.float32).reshape(-1, 2)
    shares = [files.shares(e) for e in edges]
    backends = zip(index.backend_edge, index.backends, strict=True)
    return KnobState(
        cap_default=breaker("default", "max_requests"),
        cap_high=breaker("high", "max_requests"),
        attempts=_array([files.attempts(e) for e in edges]),
        retry_budget=_array([files.retry_budget(e) for e in edges]),
        timeout=timeouts[:, 0],
        per_try_timeout=timeouts[:, 1],
        max_ejection=outlier[:, 0],
        consecutive_5xx=outlier[:, 1],
        max_connections=breaker("default", "max_connections"),
        max_pending=breaker("default", "max_pending_requests"),
        weight=_array([shares[e].get(name, np.nan) for e, name in backends]),
        limit=_array([files.limit(api) for api in index.apis]),
    )


def _array(values: list[float]) -> FloatArray:
    return np.array(values, np.float32)


def _same(old: Mapping[Path, XdsFile], new: Mapping[Path, XdsFile]) -> bool:
    return old.keys() == new.keys() and all(old[path] is file for path, file in new.items())


def _equal(text: str | None, wanted: float) -> bool:
    try:
        return text is not None and abs(float(text) - wanted) <= 1e-6 * max(1.0, abs(wanted))
    except ValueError:
        return False


def _why(before: Subscriptions, now: Subscriptions) -> str:
    """What Envoy counted; it names the field only in its own log."""
    for scope, subscription in now.items():
        if scope in before and subscription.failure > before[scope].failure:
            return (
                f"{scope}.update_failure rose, it could not be parsed as this type; Envoy's log names the field"
            )
        if scope in before and subscription.rejected > before[scope].rejected:
            return f"{scope}.update_rejected rose, it is not valid; Envoy's log names the field"
    return "its subscription refused it"

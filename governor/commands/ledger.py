"""`governor history`, `governor explain` and `governor undo`: the ledger, read and used."""

from __future__ import annotations

import time
from pathlib import Path

from governor.commands.output import ERROR, NOTHING, settings_for, show, warn
from governor.errors import LedgerError
from governor.explain.ledger import explanation, history
from governor.ports import Ledger
from governor.runtime.wiring import ledger_of, plane_of
from governor.settings import Settings


def show_history(config: Path | None, hours: float, kind: str | None, limit: int) -> int:
    """The newest entries of the ledger."""
    ledger = _existing(settings_for(config))
    show(history(ledger.entries(since=time.time() - hours * 3600, kind=kind, limit=limit)))
    return NOTHING


def show_explanation(config: Path | None, entry_id: str) -> int:
    """Everything recorded about one decision."""
    entries = _existing(settings_for(config)).find(entry_id)
    if not entries:
        return _unknown(entry_id)
    show(explanation(entries))
    return NOTHING


def undo(config: Path | None, entry_id: str) -> int:
    """Put the value before decision `entry_id` back, and record it."""
    from governor.commands.undoing import put_back

    settings = settings_for(config)
    ledger = _existing(settings)
    entries = ledger.find(entry_id)
    if not entries:
        return _unknown(entry_id)
    plane = plane_of(settings)
    if plane is None:
        warn("undo writes to the mesh, and no control plane is set; set plane.kind")
        return ERROR
    show(put_back(entries, plane, ledger, time.time()))
    return NOTHING


def _existing(settings: Settings) -> Ledger:
    # Looking at a ledger must not make an empty one where the path is mistyped.
    if not settings.ledger.path.exists():
        raise LedgerError(f"{settings.ledger.path}: there is no ledger here; set ledger.path")
    return ledger_of(settings)


def _unknown(entry_id: str) -> int:
    warn(f"{entry_id}: the ledger holds no such decision; governor history lists them")
    return ERROR

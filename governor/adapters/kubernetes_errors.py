"""Answers of the API server that are errors, in the governor's words: what was refused, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from governor.errors import ControlPlaneError, WriteRejected, WriteUnconfirmed


class ObjectGone(ControlPlaneError):  # noqa: N818 - reads as what happened
    """There is no such object, or its kind is not installed."""


class ObjectChanged(ControlPlaneError):  # noqa: N818 - reads as what happened
    """The object is not what it was when it was read; nothing was written."""


class FieldConflict(ControlPlaneError):  # noqa: N818 - reads as what happened
    """A field belongs to another manager; nothing was written."""


def explained(what: str, method: str, status: int, text: bytes) -> ControlPlaneError:
    """The error for one answer; `what` names the object."""
    answer = _status(text)
    message = str(answer.get("message") or text[:300].decode(errors="replace"))
    if status == 404:
        return ObjectGone(f"{what} is not there: {message}")
    if status == 409:
        return _conflict(what, answer, message)
    if status in {400, 422}:
        if method == "PATCH" and "test" in message.lower() and "operation" in message.lower():
            return _changed(what, message)
        return WriteRejected(f"{what} was refused: {message}; nothing was written")
    if status in {401, 403}:
        return ControlPlaneError(
            f"{what}: not allowed ({message}): 'governor check --plane kubernetes' lists what is missing"
        )
    kind = WriteUnconfirmed if method != "GET" and status >= 500 else ControlPlaneError
    return kind(f"{what}: the API server answered {status}: {message}")


def _conflict(what: str, answer: Mapping[str, Any], message: str) -> ControlPlaneError:
    causes = (answer.get("details") or {}).get("causes") or ()
    held = [cause for cause in causes if cause.get("reason") == "FieldManagerConflict"]
    if not held:
        return _changed(what, message)
    fields = "; ".join(f"{cause.get('field', '?')}: {cause.get('message', '?')}" for cause in held)
    return FieldConflict(f"{what}: {fields}; the field is theirs, nothing was written")


def _changed(what: str, message: str) -> ObjectChanged:
    return ObjectChanged(f"{what} was changed meanwhile: {message}; nothing was written")


def _status(text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

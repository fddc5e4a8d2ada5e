"""Answers of the API server that are errors, in the governor's words: what was refused, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from governor.errors import ControlPlaneError, WriteRejected, WriteUnconfirmed

FAILED_TEST = "the server rejected our request due to an error in our request"
"""All that the API server says of a JSON Patch whose `test` fails."""
UNTYPED = "failed to create typed patch object"
"""A field that the schema does not have, or of another type; the server calls it an internal error (500)."""


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
    if status == 422 and method == "PATCH" and FAILED_TEST in message:
        return _changed(what, "a value or list element that was to be changed is no longer what it was")
    if status in {400, 422} or UNTYPED in message:
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

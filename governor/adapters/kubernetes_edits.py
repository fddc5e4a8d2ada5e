"""What is to change in an object, leaf by leaf; pure functions over plain JSON data.

A path is a tuple of field names and positions in lists: `("spec", "http", 0, "timeout")`. A leaf is a scalar, or
a list or mapping that is written as one (a list of status codes, say).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from governor.adapters.kubernetes_objects import Body, Ref

FieldPath = tuple[str | int, ...]


class Absent(Enum):
    """Its only value stands for a field that is not there."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT
"""The field is not there, or is to be taken away."""


@dataclass(frozen=True)
class Edit:
    """One leaf and the value it is to have."""

    path: FieldPath
    value: Any
    """JSON data, or ABSENT to take the leaf away."""


@dataclass(frozen=True)
class Change:
    """Leaves of an object that somebody else owns. Everything that is not named stays as it is."""

    ref: Ref
    edits: tuple[Edit, ...]
    """All leaves of one knob, those that keep their value as well."""


@dataclass(frozen=True)
class OwnObject:
    """A whole object that the governor makes, keeps and deletes itself."""

    ref: Ref
    body: Body | None
    """Without metadata.namespace and name; None: it must not be there."""


AnyChange = Change | OwnObject


def value_at(body: Any, path: FieldPath) -> Any:
    """The value at `path`, ABSENT if any part of the way is not there."""
    for part in path:
        if isinstance(part, int):
            if not isinstance(body, Sequence) or isinstance(body, str) or part >= len(body):
                return ABSENT
        elif not isinstance(body, Mapping) or part not in body:
            return ABSENT
        body = body[part]
    return body


def edited(body: Body, edits: Iterable[Edit]) -> dict[str, Any]:
    """A copy of `body` with `edits` made; mappings on the way are made, and those left empty by a removal go.

    Raises KeyError if an edit leads into a list position that is not there.
    """
    copy: dict[str, Any] = deepcopy(dict(body))
    for edit in edits:
        if edit.value is ABSENT:
            _take_away(copy, edit.path)
        else:
            _put(copy, edit.path, deepcopy(edit.value))
    return copy


def _put(body: Any, path: FieldPath, value: Any) -> None:
    *way, last = path
    for part in way:
        if isinstance(part, int):
            if not isinstance(body, list) or part >= len(body):
                raise KeyError(pointer(path))
        elif part not in body or body[part] is None:
            body[part] = {}
        body = body[part]
    body[last] = value


def _take_away(body: Any, path: FieldPath) -> None:
    if value_at(body, path) is ABSENT:
        return
    holders = [body]
    for part in path[:-1]:
        holders.append(holders[-1][part])
    del holders[-1][path[-1]]
    for depth in range(len(path) - 2, 0, -1):
        # A mapping that only held the leaf goes with it: `connectionPool: {}` is refused by Istio, say.
        if holders[depth + 1] != {} or not isinstance(path[depth], str):
            return
        del holders[depth][path[depth]]


def pointer(path: FieldPath) -> str:
    """The path as a JSON Pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def in_words(path: FieldPath) -> str:
    """The path as people write it: `spec.http[0].timeout`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def in_list(path: FieldPath) -> bool:
    """Whether the path leads through a list, which its owner holds as a whole."""
    return any(isinstance(part, int) for part in path)

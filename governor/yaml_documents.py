"""YAML documents read strictly: every error names file, line, field and what is allowed.

YAML 1.1 reads `off` as a boolean and silently keeps the last of two equal keys; both would turn a policy into
another one than was meant. Here only `true` and `false` are booleans, and a repeated key is an error.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from governor.errors import DocumentError

Loc = tuple[int | str, ...]
Model = TypeVar("Model", bound=BaseModel)


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader without the booleans of YAML 1.1."""


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF")
)


@dataclass(frozen=True)
class YamlDocument:
    """One parsed document and where each of its parts stands."""

    file: str
    data: Any
    node: yaml.Node

    def line(self, loc: Loc) -> int:
        """Line (from 1) of the part at `loc`, or of the nearest part around it."""
        node = self.node
        line = node.start_mark.line
        for step in loc:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return int(line) + 1


def _child(node: yaml.Node, step: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item = node.value[step]
        return item.start_mark.line, item
    return None


def _reject_repeated_keys(file: str, node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise DocumentError(
                    f"{file}, line {key.start_mark.line + 1}: {key.value} is given twice; keep one of them"
                )
            seen.add(key.value)
            _reject_repeated_keys(file, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _reject_repeated_keys(file, item)


def read_text(path: Path) -> str:
    """The text of `path`; DocumentError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DocumentError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: cannot be read: {error}") from error


def parse(text: str, file: str) -> list[YamlDocument]:
    """All documents in `text`, empty ones left out; DocumentError if it is not YAML."""
    loader = _StrictLoader(text)
    documents = []
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                break
            _reject_repeated_keys(file, node)
            data = loader.construct_document(node)
            if data is not None:
                documents.append(YamlDocument(file, data, node))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise DocumentError(f"{file}{where}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        # ValueError: a timestamp such as 2026-13-01. TypeError: a key that is a mapping.
        raise DocumentError(f"{file}: not valid YAML: {error}") from error
    finally:
        loader.dispose()
    return documents


def validate(document: YamlDocument, model: type[Model]) -> Model:
    """`document` as `model`; DocumentError with one line for each thing that is wrong."""
    if not isinstance(document.data, dict):
        raise DocumentError(
            f"{document.file}, line {document.line(())}: a mapping is expected here, "
            f"not {type(document.data).__name__}; fields: {', '.join(field_names(model))}"
        )
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        lines = [f"{document.file}, line {document.line(e['loc'])}: {describe(e, model)}" for e in error.errors()]
        raise DocumentError("\n".join(lines)) from None


def describe(error: ErrorDetails, model: type[BaseModel]) -> str:
    """One pydantic error as: field, what is wrong, what is allowed, what was probably meant."""
    loc = error["loc"]
    if loc and loc[-1] == "[key]":
        field, wrong = dotted(loc[:-2]), str(loc[-2])
        allowed = _quoted(str(error.get("ctx", {}).get("expected", "")))
        return f"{field}: {wrong!r} is not allowed{choice(wrong, allowed)}"
    if error["type"] == "extra_forbidden":
        allowed = field_names(model_at(model, loc[:-1]))
        return f"{dotted(loc)}: unknown field{choice(str(loc[-1]), allowed)}"
    if error["type"] in {"enum", "literal_error"}:
        allowed = _quoted(str(error["ctx"]["expected"]))
        return f"{dotted(loc)}: {error['input']!r} is not allowed{choice(str(error['input']), allowed)}"
    if error["type"] == "missing":
        return f"{dotted(loc)}: is missing"
    message = error["msg"].removeprefix("Value error, ")
    given = "" if isinstance(error["input"], dict) else f" (it is {error['input']!r})"
    return f"{dotted(loc) or 'document'}: {message[:1].lower()}{message[1:]}{given}"


def choice(wrong: str, allowed: Sequence[str]) -> str:
    """`; did you mean x? Allowed: ...` for a word that is not among `allowed`."""
    near = difflib.get_close_matches(wrong, allowed, n=1)
    meant = f"; did you mean {near[0]}?" if near else ";"
    return f"{meant} allowed: {', '.join(allowed) or 'nothing'}"


def dotted(loc: Iterable[int | str]) -> str:
    """`spec.priorities[0].tier` for a pydantic location."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _quoted(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected)


def field_names(model: type[BaseModel] | None) -> list[str]:
    """Names as they are written in documents."""
    return [f.alias or name for name, f in model.model_fields.items()] if model else []


def model_at(model: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    """The model that validates what stands at `loc` within a document of `model`."""
    annotation: Any = model
    for step in loc:
        inner = _model_in(annotation)
        if isinstance(step, str) and inner is not None and _is_model(annotation):
            field = next((f for n, f in inner.model_fields.items() if (f.alias or n) == step), None)
            annotation = field.annotation if field else None
        else:  # an element of a list or a value of a mapping
            annotation = inner
    return _model_in(annotation)


def _is_model(annotation: Any) -> bool:
    arguments = [a for a in typing.get_args(annotation) if a is not types.NoneType]
    if typing.get_origin(annotation) in {types.UnionType, typing.Union} and len(arguments) == 1:
        annotation = arguments[0]
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for a in typing.get_args(annotation) if (found := _model_in(a))), None)

"""Edits of leaves, and the JSON Patches that make them: both must agree, and touch nothing else."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.kubernetes_edits import ABSENT, Edit, edited, in_words, pointer, value_at
from governor.adapters.kubernetes_objects import Kind, Ref
from governor.adapters.kubernetes_patches import apply_body, elements_on, json_patch, located

ROUTE = Kind("networking.istio.io", "v1", "virtualservices", "VirtualService")
BODY: dict[str, Any] = {
    "metadata": {"name": "api", "uid": "u1", "resourceVersion": "7"},
    "spec": {
        "hosts": ["api"],
        "http": [
            {"name": "canary", "match": [{"uri": {"prefix": "/a"}}], "route": [{"destination": {"host": "b"}}]},
            {
                "route": [
                    {"destination": {"host": "api", "subset": "v1"}, "weight": 90},
                    {"destination": {"host": "api", "subset": "v2"}, "weight": 10},
                ]
            },
        ],
    },
}


def apply_patch(body: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902, as far as these patches go."""
    body = deepcopy(body)
    for operation in operations:
        parts = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
        holder = body
        for part in parts[:-1]:
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        last: Any = int(parts[-1]) if isinstance(holder, list) else parts[-1]
        match operation["op"]:
            case "test":
                assert holder[last] == operation["value"], operation
            case "remove":
                del holder[last]
            case "replace":
                assert last in holder or isinstance(holder, list)
                holder[last] = operation["value"]
            case "add":
                assert isinstance(holder, dict)
                holder[last] = operation["value"]
    return body


def test_a_leaf_is_put_where_nothing_was_and_taken_away_with_what_held_only_it() -> None:
    path = ("spec", "trafficPolicy", "connectionPool", "http", "maxRetries")
    there = edited({"spec": {"host": "api"}}, [Edit(path, 3)])
    assert value_at(there, path) == 3
    assert edited(there, [Edit(path, ABSENT)]) == {"spec": {"host": "api"}}


def test_what_else_stands_in_a_mapping_keeps_it_when_a_leaf_goes() -> None:
    body = {"spec": {"pool": {"a": 1, "b": 2}}}
    assert edited(body, [Edit(("spec", "pool", "a"), ABSENT)]) == {"spec": {"pool": {"b": 2}}}
    assert body == {"spec": {"pool": {"a": 1, "b": 2}}}


def test_an_edit_into_a_list_position_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="/spec/http/5/timeout"):
        edited(BODY, [Edit(("spec", "http", 5, "timeout"), "1s")])


def test_paths_in_words_and_as_pointers() -> None:
    path = ("metadata", "annotations", "retry.linkerd.io/limit")
    assert pointer(path) == "/metadata/annotations/retry.linkerd.io~1limit"
    assert in_words(("spec", "http", 0, "route", 1, "weight")) == "spec.http[0].route[1].weight"


def test_a_patch_tests_version_elements_and_old_values() -> None:
    operations = json_patch(BODY, [Edit(("spec", "http", 1, "route", 0, "weight"), 70)])
    assert {"op": "test", "path": "/metadata/resourceVersion", "value": "7"} in operations
    destination = {"host": "api", "subset": "v1"}
    assert {"op": "test", "path": "/spec/http/1/route/0/destination", "value": destination} in operations
    assert {"op": "test", "path": "/spec/http/1/route/0/weight", "value": 90} in operations
    assert operations[-1] == {"op": "replace", "path": "/spec/http/1/route/0/weight", "value": 70}


def test_a_patch_does_nothing_to_leaves_that_are_so_already() -> None:
    operations = json_patch(BODY, [Edit(("spec", "http", 1, "route", 0, "weight"), 90)])
    assert [o for o in operations if o["op"] != "test"] == []


LEAVES = [
    ("spec", "http", 0, "timeout"),
    ("spec", "http", 0, "retries", "attempts"),
    ("spec", "http", 0, "retries", "perTryTimeout"),
    ("spec", "http", 1, "route", 0, "weight"),
    ("spec", "http", 1, "route", 1, "weight"),
    ("metadata", "annotations", "a/b~c"),
]


@given(st.lists(st.tuples(st.sampled_from(LEAVES), st.one_of(st.just(ABSENT), st.integers(0, 9))), max_size=8))
def test_a_patch_makes_what_the_edits_say(steps: list[tuple[Any, Any]]) -> None:
    edits = [Edit(path, value) for path, value in steps]
    assert apply_patch(BODY, json_patch(BODY, edits)) == edited(BODY, edits)


@given(st.lists(st.tuples(st.sampled_from(LEAVES), st.integers(0, 9)), max_size=6))
def test_edits_and_their_opposites_leave_the_object_as_it_was(steps: list[tuple[Any, Any]]) -> None:
    edits = list({path: Edit(path, value) for path, value in steps}.values())
    back = [Edit(edit.path, value_at(BODY, edit.path)) for edit in edits]
    assert edited(edited(BODY, edits), back) == BODY


def test_an_applied_body_names_the_very_object_and_nothing_but_the_leaves() -> None:
    body = apply_body(Ref(ROUTE, "shop", "api"), [Edit(("spec", "a"), 1), Edit(("spec", "b"), ABSENT)], BODY)
    assert body == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "api", "namespace": "shop", "uid": "u1", "resourceVersion": "7"},
        "spec": {"a": 1},
    }


def test_a_leaf_is_found_again_when_its_element_has_moved() -> None:
    path = ("spec", "http", 1, "route", 1, "weight")
    elements = elements_on(BODY, path)
    moved = edited(BODY, [])
    moved["spec"]["http"].insert(0, {"match": [{"uri": {"exact": "/z"}}], "route": []})
    moved["spec"]["http"][2]["route"].reverse()
    assert located(moved, path, elements) == ("spec", "http", 2, "route", 0, "weight")
    assert located(BODY, path, elements) == path


def test_a_leaf_whose_element_is_gone_or_there_twice_is_not_found() -> None:
    path = ("spec", "http", 0, "timeout")
    elements = elements_on(BODY, path)
    gone = edited(BODY, [])
    del gone["spec"]["http"][0]
    assert located(gone, path, elements) is None
    twice = edited(BODY, [])
    twice["spec"]["http"] = [{"name": "other"}, BODY["spec"]["http"][0], BODY["spec"]["http"][0]]
    assert located(twice, path, elements) is None

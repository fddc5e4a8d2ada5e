"""Who holds a field, which tools rewrite an object, and what keeps the governor from touching a leaf."""

from __future__ import annotations

from typing import Any

import pytest

from governor.adapters.kubernetes_edits import Change, Edit
from governor.adapters.kubernetes_objects import Kind, Ref
from governor.adapters.kubernetes_ownership import (
    MAY_EDIT,
    delivered_by,
    is_ours,
    manager_of,
    may_edit,
    owners,
    rewriter,
    strange_opt_in,
)
from governor.adapters.kubernetes_writer import obstacle
from governor.knobs import Knob

KIND = Kind("networking.istio.io", "v1", "destinationrules", "DestinationRule")
REF = Ref(KIND, "shop", "api")
CAP = ("spec", "trafficPolicy", "connectionPool", "http", "http2MaxRequests")
WEIGHT = ("spec", "http", 0, "route", 0, "weight")


def held(manager: str, fields: dict[str, Any], operation: str = "Update", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **more}


def fields_of(*path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in reversed(path):
        found = {f"f:{part}": found}
    return found


def body(*entries: dict[str, Any], spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(entries), **metadata}, "spec": spec or {}}


def test_the_holder_of_a_leaf_is_found_through_mappings() -> None:
    entry = held("kubectl", fields_of(*(str(part) for part in CAP)))
    assert owners(body(entry), CAP) == ("kubectl",)
    assert owners(body(entry), (*CAP[:-1], "maxRetries")) == ()


def test_an_atomic_list_is_held_as_a_whole() -> None:
    assert owners(body(held("helm", {"f:spec": {"f:http": {}}})), WEIGHT) == ("helm",)


def test_status_is_no_ownership() -> None:
    entry = held("controller", fields_of("spec", "http"), subresource="status")
    assert owners(body(entry), WEIGHT) == ()


def test_several_holders_are_named_in_order() -> None:
    fields = fields_of("spec", "http")
    assert owners(body(held("b", fields), held("a", fields)), WEIGHT) == ("a", "b")


def test_our_managers_are_ours_and_similar_names_are_not() -> None:
    assert is_ours(manager_of(Knob.TIMEOUT))
    assert not is_ours("mesh-governors")


@pytest.mark.parametrize(
    ("words", "knob", "allowed"),
    [
        ("weights", Knob.WEIGHTS, True),
        ("weights, retries", Knob.RETRIES, True),
        ("weights", Knob.RETRIES, False),
        ("all", Knob.TIMEOUT, True),
        ("", Knob.TIMEOUT, False),
    ],
)
def test_an_owner_lets_single_knobs_be_changed(words: str, knob: Knob, allowed: bool) -> None:
    assert may_edit(body(annotations={MAY_EDIT: words}), knob) is allowed


def test_a_typing_error_in_the_opt_in_is_told() -> None:
    found = body(spec={"http": [{"route": [{"weight": 1}]}]}, annotations={MAY_EDIT: "weigths, retries"})
    assert strange_opt_in(found) == ("weigths",)
    assert "it says weigths now" in (obstacle(found, Change(REF, (Edit(WEIGHT, 2),)), Knob.WEIGHTS) or "")


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"annotations": {"flagger.kubernetes.app/original-configuration": "{}"}}, "Flagger"),
        ({"ownerReferences": [{"kind": "Canary"}]}, "Flagger"),
        ({"labels": {"rollouts.argoproj.io/gatewayapi-canary": "in-progress"}}, "Argo Rollouts"),
    ],
)
def test_tools_that_shift_weights_themselves_are_left_alone_whatever_the_annotation_says(
    metadata: dict[str, Any], name: str
) -> None:
    metadata = {**metadata, "annotations": {MAY_EDIT: "all", **metadata.get("annotations", {})}}
    found = body(spec={"http": [{"route": [{"weight": 1}]}]}, **metadata)
    assert rewriter(found) is not None
    why = obstacle(found, Change(REF, (Edit(WEIGHT, 2),)), Knob.WEIGHTS)
    assert why is not None
    assert name in why


def test_the_deliverer_of_a_field_is_named() -> None:
    entry = held("argocd-controller", fields_of(*(str(part) for part in CAP)), "Apply")
    pool = {"trafficPolicy": {"connectionPool": {"http": {"http2MaxRequests": 5}}}}
    found = body(entry, spec=pool)
    assert delivered_by(found) == "Argo CD"
    why = obstacle(found, Change(REF, (Edit(CAP, 9),)), Knob.IN_FLIGHT_CAP)
    assert why is not None
    assert "argocd-controller" in why
    assert "delivered by Argo CD" in why
    assert f"{MAY_EDIT}: in-flight-cap" in why


def test_a_leaf_that_nobody_set_is_free() -> None:
    assert obstacle(body(), Change(REF, (Edit(CAP, 9),)), Knob.IN_FLIGHT_CAP) is None


def test_a_value_without_a_known_holder_is_its_owners() -> None:
    pool = {"trafficPolicy": {"connectionPool": {"http": {"http2MaxRequests": 5}}}}
    assert obstacle(body(spec=pool), Change(REF, (Edit(CAP, 9),)), Knob.IN_FLIGHT_CAP) is not None
    assert obstacle(body(spec=pool), Change(REF, (Edit(CAP, 5),)), Knob.IN_FLIGHT_CAP) is None


def test_our_own_leaf_may_be_changed_again() -> None:
    entry = held(manager_of(Knob.IN_FLIGHT_CAP), fields_of(*(str(part) for part in CAP)), "Apply")
    pool = {"trafficPolicy": {"connectionPool": {"http": {"http2MaxRequests": 5}}}}
    assert obstacle(body(entry, spec=pool), Change(REF, (Edit(CAP, 9),)), Knob.IN_FLIGHT_CAP) is None

"""Weights in SMI's TrafficSplits: read, written in place, refused by name."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import Change, Edit
from governor.adapters.meshes.rules_smi import violations
from governor.adapters.meshes.smi import MESH, OLDER
from governor.knobs import BackendWeights, Knob, Timeout

from .capabilities import file_agrees
from .manifests import SMI_SPLIT as SPLIT
from .objects import cluster, gives_back, made, needs_manifests, place, shared_manifests, snapshot_of

SHOP = cluster(SPLIT, MESH.kinds)
SEARCH = place("search", backends=("search-v1", "search-v2.shop.svc.cluster.local"))


def test_shares_are_read_under_the_names_that_metrics_have() -> None:
    assert MESH.settings(SHOP, SEARCH) == {
        Knob.WEIGHTS: BackendWeights((("search-v1", 0.9), ("search-v2.shop.svc.cluster.local", 0.1)))
    }


def test_nothing_is_said_of_a_service_without_a_split() -> None:
    assert MESH.settings(SHOP, place("cart")) == {}
    assert MESH.settings(SHOP, place("search", "elsewhere")) == {}


def test_weights_are_whole_and_sum_to_100() -> None:
    value = BackendWeights((("search-v2", 1 / 3), ("search-v1", 2 / 3)))
    (change,) = MESH.changes(SHOP, SEARCH, value)
    assert isinstance(change, Change)
    assert change.edits == (
        Edit(("spec", "backends", 1, "weight"), 33),
        Edit(("spec", "backends", 0, "weight"), 67),
    )
    gives_back(SHOP, [change])


@given(st.integers(0, 100))
def test_what_is_written_is_read_back(percent: int) -> None:
    value = BackendWeights(
        (("search-v1", percent / 100), ("search-v2.shop.svc.cluster.local", 1 - percent / 100))
    )
    said = MESH.settings(made(MESH, SHOP, SEARCH, value), SEARCH)[Knob.WEIGHTS]
    assert isinstance(said, BackendWeights)
    assert dict(said.shares) == pytest.approx(dict(value.shares), abs=0.005)


@pytest.mark.parametrize(
    ("text", "shares", "reason"),
    [
        (SPLIT, {"search-v1": 0.5, "search-v3": 0.5}, "has no destination search-v3"),
        (SPLIT, {"search-v1": 1.0}, "search-v2 gets traffic by TrafficSplit shop/rollout and was not seen"),
        (SPLIT, {"search-v1": 0.0, "search-v2": 0.0}, "must not all be zero"),
        (SPLIT.replace("search-v2", "search-v1"), {"search-v1": 1.0}, "names search-v1 more than once"),
        (SPLIT.replace("900", "500m"), {"search-v1": 0.5, "search-v2": 0.5}, "not a whole number"),
        (SPLIT + "  matches: [{kind: HTTPRouteGroup, name: beta}]\n", {"search-v1": 1.0}, "only the requests"),
        (
            SPLIT + "---" + SPLIT.replace("rollout", "other"),
            {"search-v1": 1.0},
            "TrafficSplit shop/other and TrafficSplit shop/rollout both split search",
        ),
        (SPLIT.replace("search.shop", "cart.shop"), {"search-v1": 1.0}, "no TrafficSplit of namespace shop"),
    ],
)
def test_what_a_split_cannot_say_is_refused_by_name(text: str, shares: dict[str, float], reason: str) -> None:
    with pytest.raises(Inexpressible, match=reason):
        MESH.changes(cluster(text, MESH.kinds), SEARCH, BackendWeights(tuple(shares.items())))


def test_a_split_for_all_requests_counts_beside_one_for_some() -> None:
    text = SPLIT + "---" + SPLIT.replace("rollout", "beta") + "  matches: [{kind: HTTPRouteGroup, name: beta}]\n"
    found = cluster(text, MESH.kinds)
    (change,) = MESH.changes(found, SEARCH, BackendWeights((("search-v1", 0.5), ("search-v2", 0.5))))
    assert change.ref.name == "rollout"
    assert Knob.WEIGHTS in MESH.settings(found, SEARCH)


def test_only_weights_that_the_specification_allows_pass_the_rules() -> None:
    split = yaml.safe_load(SPLIT)
    assert violations(MESH.kind, split) == []
    split["spec"]["backends"][0]["weight"] = 1.5
    assert "spec.backends[0].weight is 1.5" in violations(MESH.kind, split)[0]
    split["spec"]["backends"] = [{"service": "a", "weight": 0}]
    assert violations(MESH.kind, split) == ["the weights of spec.backends are all zero"]


def test_the_file_of_capabilities_agrees() -> None:
    file_agrees(MESH, {Knob.WEIGHTS: (SHOP, SEARCH, BackendWeights((("search-v1", 0.5), ("search-v2", 0.5))))})
    with pytest.raises(Inexpressible, match="has weights and nothing else"):
        MESH.changes(SHOP, SEARCH, Timeout(None, None))


@needs_manifests
def test_splits_of_real_users_take_new_weights_and_give_them_back() -> None:
    count = 0
    for path in shared_manifests("smi", "linkerd"):
        for mesh in (MESH, OLDER):
            found = snapshot_of(yaml.safe_load_all(path.read_text()), mesh.kinds)
            for ref, body in found.of(mesh.kind):
                names = [backend["service"] for backend in body["spec"]["backends"]]
                value = BackendWeights(tuple((name, 1 / len(names)) for name in names))
                gives_back(
                    found,
                    mesh.changes(found, place(body["spec"]["service"], ref.namespace, backends=names), value),
                )
                count += 1
    assert count

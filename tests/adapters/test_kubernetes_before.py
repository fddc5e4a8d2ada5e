"""Before-images: they survive the ConfigMap, and tell what is ours from what somebody else has changed since."""

from __future__ import annotations

from typing import Any

import pytest

from governor.adapters.kubernetes_before import BeforeImage, from_config_map, name_of, to_config_map
from governor.adapters.kubernetes_edits import ABSENT, Edit, edited
from governor.adapters.kubernetes_images import BeforeImages
from governor.adapters.kubernetes_objects import Kind, Ref
from governor.errors import ControlPlaneError
from governor.knobs import Knob, Target, TargetKind

REF = Ref(Kind("networking.istio.io", "v1", "virtualservices", "VirtualService"), "shop", "api")
TARGET = Target(TargetKind.EDGE, "web|api.shop.svc.cluster.local")
BODY: dict[str, Any] = {"spec": {"http": [{"name": "a", "timeout": "2s"}, {"name": "b"}]}}
EDITS = (Edit(("spec", "http", 0, "timeout"), "1s"), Edit(("spec", "http", 1, "timeout"), "1s"))


def image() -> BeforeImage:
    return BeforeImage(REF, "u1", TARGET, Knob.TIMEOUT, {"request_s": 2.0, "per_try_s": None})


def test_an_image_survives_its_config_map() -> None:
    kept = image().writing(BODY, EDITS)
    ref, body = to_config_map(kept, "mesh-governor")
    assert ref.name == name_of(REF, Knob.TIMEOUT)
    assert from_config_map(body) == kept


def test_a_damaged_config_map_is_named() -> None:
    _, body = to_config_map(image(), "mesh-governor")
    body["data"]["image.json"] = "{"
    with pytest.raises(ControlPlaneError, match=f"mesh-governor/{name_of(REF, Knob.TIMEOUT)}"):
        from_config_map(body)


def test_what_was_there_first_is_kept_whatever_is_written_later() -> None:
    first = image().writing(BODY, EDITS)
    later = first.writing(edited(BODY, EDITS), tuple(Edit(e.path, "3s") for e in EDITS))
    assert [leaf.before for leaf in later.leaves] == ["2s", ABSENT]
    assert later.leaves[0].ours == ("1s", "3s")


def test_everything_of_ours_goes_back() -> None:
    kept = image().writing(BODY, EDITS)
    edits, notes = BeforeImages.returning(kept, edited(BODY, EDITS))
    assert edited(edited(BODY, EDITS), edits) == BODY
    assert notes == ()


def test_what_somebody_else_changed_since_stays_and_is_told() -> None:
    kept = image().writing(BODY, EDITS)
    now = edited(BODY, [EDITS[0], Edit(EDITS[1].path, "9s")])
    edits, notes = BeforeImages.returning(kept, now)
    assert edits == (Edit(EDITS[0].path, "2s"),)
    assert "spec.http[1].timeout of VirtualService shop/api was set to '9s' by somebody else" in notes[0]


def test_a_write_of_unknown_outcome_goes_back_too() -> None:
    kept = image().writing(BODY, EDITS).writing(edited(BODY, EDITS), tuple(Edit(e.path, "3s") for e in EDITS))
    for value in ("1s", "3s"):
        now = edited(BODY, [Edit(e.path, value) for e in EDITS])
        edits, _ = BeforeImages.returning(kept, now)
        assert edited(now, edits) == BODY


def test_a_list_that_its_owner_rewrote_is_left_alone() -> None:
    kept = image().writing(BODY, EDITS)
    edits, notes = BeforeImages.returning(kept, {"spec": {"http": [{"name": "c"}]}})
    assert edits == ()
    assert len(notes) == 2


RETRIED: dict[str, Any] = {"spec": {"http": [{"name": "a", "retries": {"attempts": 3, "perTryTimeout": "2s"}}]}}
ATTEMPTS = ("spec", "http", 0, "retries", "attempts")
PER_TRY = ("spec", "http", 0, "retries", "perTryTimeout")


@pytest.mark.parametrize("timeout_goes_first", [True, False])
@pytest.mark.parametrize("body", [RETRIED, {"spec": {"http": [{"name": "a"}]}}])
def test_two_knobs_with_a_leaf_in_common_go_back_in_any_order(
    body: dict[str, Any], timeout_goes_first: bool
) -> None:
    short = (Edit(PER_TRY, "500ms"), Edit(ATTEMPTS, 2))
    timeout = image().writing(body, short)
    then = edited(body, short)
    none = (Edit(ATTEMPTS, 0), Edit(PER_TRY, ABSENT))
    retries = BeforeImage(REF, "u1", TARGET, Knob.RETRIES, {}).writing(then, none, (timeout,))
    now = edited(then, none)
    first, last = (timeout, retries) if timeout_goes_first else (retries, timeout)
    edits, notes = BeforeImages.returning(first, now, (last,))
    between = edited(now, edits)
    assert notes == ()
    assert between == (now if timeout_goes_first else then)
    edits, notes = BeforeImages.returning(last, between)
    assert edited(between, edits) == body
    assert notes == ()


def test_an_empty_mapping_that_says_something_comes_back() -> None:
    body: dict[str, Any] = {"spec": {"host": "api", "trafficPolicy": {"outlierDetection": {}}}}
    edits = (Edit(("spec", "trafficPolicy", "outlierDetection", "maxEjectionPercent"), 30),)
    kept = image().writing(body, edits)
    assert from_config_map(to_config_map(kept, "g")[1]) == kept
    back, notes = BeforeImages.returning(kept, edited(body, edits))
    assert edited(edited(body, edits), back) == body
    assert notes == ()
    gone = {"spec": {"host": "api"}}
    assert BeforeImages.returning(kept, gone)[0] == ()

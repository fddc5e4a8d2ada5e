from pathlib import Path

import numpy as np
import pytest

from governor.domain import MeshIndex
from governor.errors import DocumentError
from governor.knobs import Knob, Target, TargetKind
from governor.policy import PRESETS, load_policies, parse_policies, preset, resolve, unmatched
from governor.policy_view import Mode

HEAD = """apiVersion: governor/v1alpha1
kind: GovernorPolicy
metadata: {name: mine}
spec:
"""


def index(backends: int = 2) -> MeshIndex:
    return MeshIndex(
        services=("gate", "shop", "stock"),
        edges=("gate>shop", "shop>stock"),
        edge_caller=np.array([0, 1], np.int32),
        edge_callee=np.array([1, 2], np.int32),
        backends=tuple(f"b{i}" for i in range(backends)),
        backend_edge=np.ones(backends, np.int32),
        apis=("shop.high", "shop.low"),
        api_edge=np.zeros(2, np.int32),
    )


def wrong(body: str) -> str:
    with pytest.raises(DocumentError) as caught:
        parse_policies(HEAD + body, "mine.yaml")
    return str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_names_every_knob(name: str) -> None:
    assert set(preset(name).spec.knobs) == set(Knob)


def test_only_balanced_enforces_and_only_four_knobs() -> None:
    enforcing = {n: {k for k, d in preset(n).spec.knobs.items() if d.mode is Mode.ENFORCE} for n in PRESETS}
    assert enforcing == {
        "observe-only": set(),
        "cautious": set(),
        "balanced": {Knob.RATE_LIMIT, Knob.IN_FLIGHT_CAP, Knob.WEIGHTS, Knob.RETRIES},
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("  knobz: {}", ["line 5", "spec.knobz", "did you mean knobs?", "blastRadius"]),
        (
            "  knobs:\n    rate-limt: {mode: off}",
            ["line 6", "'rate-limt'", "did you mean rate-limit?", "weights"],
        ),
        (
            "  knobs:\n    weights:\n      mode: enforced",
            ["line 7", "did you mean enforce?", "off, recommend"],
        ),
        ("  knobs:\n    weights: {mode: on}", ["line 6", "'on'", "off, recommend, enforce"]),
        (
            "  knobs: {}\n  slo: {availability: 99.9}",
            ["line 6", "spec.slo.availability", "less than 1", "99.9"],
        ),
        ("  knobs: {}\n  suppress: [GOV1O1]", ["line 6", "spec.suppress[0]", "GOV101"]),
        ("  knobs: {}\n  suppress: [GOV203]", ["spec.suppress[0]", "not a reason to change something"]),
        ("  slo: {}", ["spec.knobs: is missing"]),
        ("  knobs: {}\n  knobs: {}", ["line 6", "knobs is given twice"]),
        ("  knobs: {}\n  priorities:\n    - {apis: [x], tier: -1}", ["line 7", "spec.priorities[0].tier"]),
        (
            "  knobs: {}\n  freeze: [{from: 2026-12-24T00:00:00, to: 2026-12-27T00:00:00}]",
            ["offset from UTC"],
        ),
        ("  knobs: {}\n  freeze: [{from: 2026-12-27T00:00:00Z, to: 2026-12-24T00:00:00Z}]", ["is not after"]),
        ("  knobs: [", ["not valid YAML"]),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_is_allowed(body: str, expected: list[str]) -> None:
    message = wrong(body)
    assert "mine.yaml" in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("rate-limit: {mode: enforce, minimum: 50, maximum: 20}", "minimum 50 is above maximum 20"),
        ("rate-limit: {mode: enforce, maximum: 0.5}", "minimum 1 is above maximum 0.5"),
        ("in-flight-cap: {mode: enforce, minimum: 0}", "must lie within 1 and"),
        ("weights: {mode: enforce, minimum: 0.6}", "cannot sum to 1"),
        ("weights: {mode: enforce, maximum: 50}", "must lie within 0 and 1"),
        ("timeout: {mode: enforce, deadBand: 0.3, stepUp: 0.2}", "no step would ever be written"),
    ],
)
def test_bounds_that_contradict_each_other_are_rejected(rule: str, expected: str) -> None:
    message = wrong(f"  knobs:\n    {rule}")
    assert "line 6" in message
    assert expected in message


def test_all_mistakes_are_told_at_once() -> None:
    assert len(wrong("  knobs: {weights: {mode: x}}\n  sol: {}").splitlines()) == 2


def test_off_without_quotes_means_off() -> None:
    policy = parse_policies(HEAD + "  knobs: {weights: {mode: off}}", "f")[0]
    assert policy.spec.knobs[Knob.WEIGHTS].mode is Mode.OFF


@pytest.mark.parametrize(
    ("source", "expected"),
    [("balancd", "did you mean balanced?"), ("/nowhere/x.yaml", "there is no such file")],
)
def test_a_source_that_is_not_there(source: str, expected: str) -> None:
    with pytest.raises(DocumentError, match=expected):
        load_policies([source])


def test_an_empty_file_and_two_policies_of_one_name(tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("# nothing\n")
    with pytest.raises(DocumentError, match="holds no policy"):
        load_policies([empty])
    with pytest.raises(DocumentError, match="two policies have this name"):
        load_policies(["balanced", "balanced"])


def test_the_first_policy_that_matches_governs() -> None:
    mine = parse_policies(HEAD + "  select: {edges: ['shop>*'], apis: []}\n  knobs: {weights: {mode: off}}", "f")
    view = resolve([*mine, preset("balanced")], index())
    assert view.edge_rules.tolist() == [1, 0]
    assert view.api_rules.tolist() == [1, 1]
    rules = view.rules_for(Target(TargetKind.EDGE, "shop>stock"))
    assert rules is not None
    assert rules.name == "mine"
    assert view.active(Knob.WEIGHTS).tolist() == [True, False]
    assert view.rules_for(Target(TargetKind.EDGE, "unknown")) is None


def test_what_no_policy_selects_has_no_rules() -> None:
    mine = parse_policies(HEAD + "  select: {edges: ['shop>*'], apis: []}\n  knobs: {}", "f")
    view = resolve(mine, index())
    assert view.edge_rules.tolist() == [-1, 0]
    assert view.api_rules.tolist() == [-1, -1]


def test_objectives_priorities_and_their_defaults() -> None:
    body = """  slo: {availability: 0.99, latency: {quantile: 0.95, seconds: 0.2}}
  overrides: [{services: [st*], latency: {quantile: 0.9, seconds: 2}}, {services: [shop], availability: 0.9}]
  priorities: [{apis: ["*.low"], tier: 3, share: 2}]
  knobs: {}
"""
    view = resolve(parse_policies(HEAD + body, "f"), index())
    # Nothing governs an edge into gate: it has the defaults.
    assert view.availability.tolist() == pytest.approx([0.999, 0.9, 0.99])
    assert view.latency_s.tolist() == pytest.approx([0.5, 0.2, 2.0])
    assert view.quantile.tolist() == pytest.approx([0.99, 0.95, 0.9])
    assert view.api_latency_s.tolist() == pytest.approx([0.2, 0.2])
    assert view.api_tier.tolist() == [0, 3]
    assert view.api_share.tolist() == [1.0, 2.0]


def test_names_that_are_not_in_the_mesh_are_warned_about() -> None:
    body = """  select: {edges: ['gate>shp'], apis: ['*.hihg']}
  overrides: [{services: [stok]}]
  priorities: [{apis: [shop.hig]}]
  knobs: {}
"""
    warnings = unmatched(parse_policies(HEAD + body, "f"), index())
    assert len(warnings) == 4
    assert "'gate>shp' matches no edge; did you mean gate>shop?" in warnings[0]
    assert "did you mean stock?" in warnings[2]
    assert unmatched([preset("balanced")], index()) == []


def test_floors_that_cannot_hold_in_this_mesh_are_warned_about() -> None:
    warnings = unmatched([preset("balanced")], index(backends=1250))
    assert len(warnings) == 1
    assert "1250 backends of shop>stock cannot sum to 1" in warnings[0]


def test_freeze_windows_arrive_in_epoch_seconds() -> None:
    body = "  knobs: {}\n  freeze: [{from: 2026-12-24T00:00:00Z, to: 2026-12-24T01:00:00+00:00}]"
    rules = resolve(parse_policies(HEAD + body, "f"), index()).rules[0]
    assert rules.freeze == ((1798070400.0, 1798074000.0),)
    assert rules.frozen_at(1798070400.0)
    assert not rules.frozen_at(1798074000.0)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from governor.lab.document_files import load_scenario
from governor.lab.documents import DataPlane, Retries, RetryBudget, Scenario
from governor.lab.envoy_config import retry_policy, write_envoy_files
from governor.lab.envoy_filters import bucket, rate_limit_extension
from governor.lab.layout import make_layout


def _write(scenario: Scenario, home: Path) -> dict[str, Path]:
    return write_envoy_files(scenario, make_layout(scenario, "127.0.77.1", 19000), home)


def _resources(path: Path) -> list[dict[str, Any]]:
    content = json.loads(path.read_text())
    assert set(content) == {"resources"}
    resources: list[dict[str, Any]] = content["resources"]
    return resources


def _manager(listener: dict[str, Any]) -> dict[str, Any]:
    manager: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def test_files_are_named_and_linked_by_edge(tmp_path: Path) -> None:
    _write(load_scenario("demo_mesh"), tmp_path)
    edges = [
        "out|ingress|frontend",
        "out|frontend|cart",
        "out|cart|db",
        "out|frontend|catalog",
        "out|catalog|db",
        "out|frontend|search",
    ]
    assert [c["name"] for c in _resources(tmp_path / "cds.json")] == edges
    assert [c["name"] for c in _resources(tmp_path / "lds.json")] == edges
    for edge in edges:
        stem = edge.replace("|", "__")
        assert _resources(tmp_path / "rds" / f"{stem}.json")[0]["name"] == edge
        assert _resources(tmp_path / "eds" / f"{stem}.json")[0]["cluster_name"] == edge
    limits = sorted(path.name for path in (tmp_path / "ecds").iterdir())
    assert limits == [
        "limit.browse.low.json",
        "limit.checkout.high.json",
        "limit.search.low.json",
    ]
    runtime = _resources(tmp_path / "rtds.json")[0]
    assert (runtime["name"], runtime["layer"]) == ("governor", {})


def test_listeners_never_share_a_port_and_carry_one_limit_per_class(small: Scenario, tmp_path: Path) -> None:
    _write(small, tmp_path)
    listener = _resources(tmp_path / "lds.json")[0]
    assert listener["enable_reuse_port"] is False
    names = [f["name"] for f in _manager(listener)["http_filters"]]
    assert names == ["shed", "limit.shop.high", "limit.shop.low", "envoy.filters.http.router"]


def test_ingress_routes_carry_class_priority_and_descriptor(small: Scenario, tmp_path: Path) -> None:
    _write(small, tmp_path)
    host = _resources(tmp_path / "rds" / "out__ingress__web.json")[0]["virtual_hosts"][0]
    assert host["name"] == "ingress"
    high, low = host["routes"]
    assert (high["name"], high["stat_prefix"]) == ("shop.high", "shop.high")
    assert high["route"]["priority"] == "HIGH"
    assert high["match"]["headers"][0]["string_match"] == {"exact": "high"}
    assert "priority" not in low["route"]
    assert "headers" not in low["match"]
    key = low["route"]["rate_limits"][0]["actions"][0]["generic_key"]
    assert key == {"descriptor_key": "api", "descriptor_value": "shop.low"}
    assert low["typed_per_filter_config"]["shed"]["abort_percent_runtime"] == "shed.shop.low"


def test_circuit_breakers_are_wide_open_unless_asked(small: Scenario, tmp_path: Path) -> None:
    _write(small, tmp_path / "open")
    cluster = _resources(tmp_path / "open" / "cds.json")[0]
    for threshold in cluster["circuit_breakers"]["thresholds"]:
        for name in ("connections", "pending_requests", "requests", "retries"):
            assert threshold[f"max_{name}"] == 1_000_000
    assert cluster["track_cluster_stats"] == {"per_endpoint_stats": True}
    assert "outlier_detection" not in cluster
    plane = DataPlane(
        static_max_requests={"web": 9},
        retry_budget=RetryBudget(percent=20),
        outlier_detection="default",
        lb_policy="round_robin",
    )
    _write(small.model_copy(update={"data_plane": plane}), tmp_path / "shut")
    cluster = _resources(tmp_path / "shut" / "cds.json")[0]
    assert [t["max_requests"] for t in cluster["circuit_breakers"]["thresholds"]] == [9, 9]
    budget = cluster["circuit_breakers"]["thresholds"][1]["retry_budget"]
    assert budget == {"budget_percent": {"value": 20}, "min_retry_concurrency": 3}
    assert cluster["outlier_detection"] == {}
    assert cluster["lb_policy"] == "ROUND_ROBIN"
    routes = _resources(tmp_path / "shut" / "rds" / "out__ingress__web.json")[0]
    for route in routes["virtual_hosts"][0]["routes"]:
        assert "priority" not in route["route"]  # a blind cap is one for all


def test_retry_conditions_are_split_as_istio_does() -> None:
    retries = Retries(attempts=2, retry_on="connect-failure,503,reset", per_try_timeout_s=0.5)
    policy = retry_policy(DataPlane(retries=retries))
    assert policy["retry_on"] == "connect-failure,reset,retriable-status-codes"
    assert policy["retriable_status_codes"] == [503]
    assert policy["per_try_timeout"] == "0.5s"


@pytest.mark.parametrize("rate", [0.5, 3, 20, 47, 50, 99.5, 450, 12_345])
def test_bucket_passes_the_rate_with_a_small_burst(rate: float) -> None:
    made = bucket(rate)
    interval = float(made["fill_interval"].removesuffix("s"))
    assert made["tokens_per_fill"] / interval == pytest.approx(rate, rel=1e-3)
    assert interval >= 0.05
    assert 1 <= made["max_tokens"] <= max(1, 0.2 * rate)


def test_no_limit_is_an_extension_that_lets_everything_through() -> None:
    config = rate_limit_extension("shop.low", None)["typed_config"]
    assert config["filter_enabled"]["default_value"]["numerator"] == 0
    limited = rate_limit_extension("shop.low", 50)["typed_config"]
    assert limited["filter_enabled"]["default_value"]["numerator"] == 100
    assert limited["descriptors"][0]["entries"] == [{"key": "api", "value": "shop.low"}]


def test_an_envoy_per_service_has_its_own_directory_and_edges(tmp_path: Path) -> None:
    scenario = load_scenario("demo_mesh")
    plane = scenario.data_plane.model_copy(update={"envoy_per_service": True})
    bootstraps = _write(scenario.model_copy(update={"data_plane": plane}), tmp_path)
    assert list(bootstraps) == ["ingress", "frontend", "cart", "catalog"]
    names = [c["name"] for c in _resources(tmp_path / "frontend" / "cds.json")]
    assert names == ["out|frontend|cart", "out|frontend|catalog", "out|frontend|search"]
    ports = set()
    for path in bootstraps.values():
        admin = json.loads(path.read_text())["admin"]["address"]["socket_address"]
        ports.add(admin["port_value"])
    assert len(ports) == 4

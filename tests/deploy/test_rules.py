"""Alerts and recording rules: Prometheus takes them, they name metrics that exist, and fire when they should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from governor.runtime.metrics import GovernorMetrics
from tests.deploy.kustomize import DEPLOY

RULES = DEPLOY / "rules" / "mesh-governor.yaml"
TESTS = Path(__file__).parent / "rules.test.yaml"


def groups(document: Any) -> Any:
    return document["spec"]["groups"] if "spec" in document else document["groups"]


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: the package prometheus brings it")
    return found


def test_prometheus_takes_the_rules(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_not_before(promtool: str, tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    shutil.copy(TESTS, tmp_path)
    done = subprocess.run(
        [promtool, "test", "rules", TESTS.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    tests = yaml.safe_load(TESTS.read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {
        r["alert"] for g in groups(yaml.safe_load(RULES.read_text())) for r in g["rules"] if "alert" in r
    }


def test_the_operators_form_holds_the_same_rules() -> None:
    wrapped = yaml.safe_load((DEPLOY / "components" / "monitoring" / "prometheus-rule.yaml").read_text())
    assert groups(wrapped) == groups(yaml.safe_load(RULES.read_text()))


def test_alerts_name_metrics_of_the_governor_that_exist() -> None:
    families = list(GovernorMetrics("1", "recommend").registry.collect())
    known = {f"{family.name}{'_total' if family.type == 'counter' else ''}" for family in families}
    rules = [rule for group in groups(yaml.safe_load(RULES.read_text())) for rule in group["rules"]]
    named = {name for rule in rules for name in re.findall(r"\bgovernor_\w+", rule["expr"])}
    assert len(named) > 5
    assert named <= known

"""Writing to objects of others on a real API server: who may, what is touched, how all of it is given back."""

from __future__ import annotations

import pytest

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_before import BeforeImage
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_edits import Change, Edit
from governor.adapters.kubernetes_images import BeforeImages
from governor.adapters.kubernetes_objects import CONFIG_MAP
from governor.adapters.kubernetes_writer import KubernetesWriter
from governor.errors import ControlPlaneError, NotLeader, WriteRejected
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    Direction,
    Hypothesis,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    Proposal,
    RetryPolicy,
    Target,
    Timeout,
)
from governor.reasons import Reason
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.istio_shop import ROUTE, RULE, Shop


@pytest.fixture
def shop(cluster: Cluster, namespace: str) -> Shop:
    return Shop(cluster, namespace)


def proposal(target: Target, knob: Knob, value: KnobValue) -> Proposal:
    hypothesis = Hypothesis("success_rate", 0.9, 30.0)
    return Proposal(
        target, knob, value, value, value, Direction.SHIFT, next(iter(Reason)), "", {}, hypothesis, 1.0, 1.0
    )


def images(shop: Shop) -> int:
    return sum(1 for ref, _ in shop.api.list_of(CONFIG_MAP, shop.namespace) if ref.name.startswith("before-"))


CAP = InFlightCap(50, None)


def test_a_free_leaf_is_set_beside_its_owners_and_goes_without_a_trace(shop: Shop) -> None:
    shop.owner_writes(shop.rule, RULE)
    plane = shop.plane()
    receipt = plane.write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)
    assert (receipt.before, receipt.after) == (InFlightCap(None, None), CAP)
    pool = shop.spec(shop.rule)["trafficPolicy"]["connectionPool"]
    assert pool == {"tcp": {"maxConnections": 77}, "http": {"http2MaxRequests": 50}}
    assert images(shop) == 1
    plane.write(shop.edge, Knob.IN_FLIGHT_CAP, InFlightCap(60, None))
    plane.write(shop.edge, Knob.IN_FLIGHT_CAP, receipt.before)
    assert shop.spec(shop.rule) == RULE
    assert images(shop) == 0


def test_what_is_written_is_read(shop: Shop) -> None:
    shop.owner_writes(shop.rule, RULE)
    plane = shop.plane()
    plane.write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)
    plane.write(shop.edge, Knob.OUTLIER_DETECTION, OutlierDetection(0.3, 7))
    state = shop.plane(read=False).read(shop.index)
    assert state.cap_default.tolist() == [50.0]
    assert state.max_connections.tolist() == [77.0]
    assert state.max_ejection.tolist() == pytest.approx([0.3])
    assert state.consecutive_5xx.tolist() == [7.0]


def test_a_value_of_its_owner_is_left_alone_without_the_owners_word(shop: Shop) -> None:
    shop.owner_writes(shop.rule, RULE)
    plane = shop.plane()
    wish = ConnectionLimits(100, None)
    said = plane.refusal(proposal(shop.edge, Knob.CONNECTION_LIMITS, wish))
    assert said is not None
    assert "maxConnections of DestinationRule" in said
    assert "kubectl-create" in said
    with pytest.raises(ControlPlaneError, match="may-edit: connection-limits"):
        plane.write(shop.edge, Knob.CONNECTION_LIMITS, wish)
    assert shop.spec(shop.rule) == RULE
    assert images(shop) == 0


def test_lists_are_edited_leaf_by_leaf_where_the_owner_lets_us(shop: Shop) -> None:
    shop.owner_writes(shop.rule, RULE)
    shop.owner_writes(shop.route, ROUTE, may_edit="weights, retries, timeout")
    plane = shop.plane()
    plane.write(shop.edge, Knob.WEIGHTS, BackendWeights((("v1", 0.7), ("v2", 0.3))))
    plane.write(shop.edge, Knob.RETRIES, RetryPolicy(0, 0.1))
    plane.write(shop.edge, Knob.TIMEOUT, Timeout(1.5, None))
    http = shop.spec(shop.route)["http"]
    assert [route["weight"] for route in http[1]["route"]] == [70, 30]
    assert http[1]["retries"] == {"attempts": 0}
    assert http[0]["fault"] == ROUTE["http"][0]["fault"]  # type: ignore[index]
    assert http[1]["timeout"] == "1500ms"
    plane.release()
    assert shop.spec(shop.route) == ROUTE
    assert shop.spec(shop.rule) == RULE
    assert images(shop) == 0


def test_another_process_finds_what_is_to_be_given_back(shop: Shop) -> None:
    shop.owner_writes(shop.rule, RULE)
    shop.owner_writes(shop.route, ROUTE, may_edit="all")
    shop.plane().write(shop.edge, Knob.WEIGHTS, BackendWeights((("v1", 0.7), ("v2", 0.3))))
    later = shop.plane(read=False)
    assert later.baseline() == {(shop.edge, Knob.WEIGHTS): BackendWeights((("v1", 0.9), ("v2", 0.1)))}
    later.release()
    assert shop.spec(shop.route) == ROUTE


def test_a_rule_that_the_owner_puts_in_front_does_not_mislead_the_release(shop: Shop) -> None:
    shop.owner_writes(shop.route, ROUTE, may_edit="weights")
    shop.plane().write(shop.edge, Knob.WEIGHTS, BackendWeights((("v1", 0.7), ("v2", 0.3))))
    first = {"match": [{"uri": {"exact": "/new"}}], "route": [{"destination": {"host": "api", "subset": "v2"}}]}
    shop.owner_merges(shop.route, {"spec": {"http": [first, *shop.spec(shop.route)["http"]]}})
    shop.plane(read=False).release()
    assert shop.spec(shop.route)["http"] == [first, *ROUTE["http"]]  # type: ignore[misc]


def test_what_the_owner_has_changed_since_stays_theirs(shop: Shop) -> None:
    shop.owner_writes(shop.rule, RULE)
    shop.plane().write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)
    shop.owner_merges(
        shop.rule, {"spec": {"trafficPolicy": {"connectionPool": {"http": {"http2MaxRequests": 9}}}}}
    )
    notes = shop.plane(read=False).release()
    assert "set to 9 by somebody else" in notes[0]
    assert shop.spec(shop.rule)["trafficPolicy"]["connectionPool"]["http"] == {"http2MaxRequests": 9}


def test_an_object_that_changed_since_it_was_read_is_looked_at_again(shop: Shop) -> None:
    shop.owner_writes(shop.rule, RULE)
    plane = shop.plane()
    shop.owner_merges(shop.rule, {"spec": {"trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}}})
    plane.write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)
    policy = shop.spec(shop.rule)["trafficPolicy"]
    assert policy["loadBalancer"] == {"simple": "ROUND_ROBIN"}
    assert policy["connectionPool"]["http"] == {"http2MaxRequests": 50}


def test_an_object_deleted_between_read_and_write_is_not_made_up(shop: Shop) -> None:
    shop.owner_writes(shop.route, ROUTE, may_edit="weights")
    plane = shop.plane()
    shop.api.delete(shop.route)
    with pytest.raises(ControlPlaneError, match="nothing was written"):
        plane.write(shop.edge, Knob.WEIGHTS, BackendWeights((("v1", 0.7), ("v2", 0.3))))
    assert list(shop.api.list_of(shop.route.kind, shop.namespace)) == []


def test_an_object_made_anew_has_a_baseline_of_its_own(shop: Shop) -> None:
    shop.owner_writes(shop.rule, RULE)
    shop.plane().write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)
    shop.api.delete(shop.rule)
    anew = {"host": "api", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}
    shop.owner_writes(shop.rule, anew)
    notes = shop.plane(read=False).release()
    assert "made anew" in notes[0]
    assert shop.spec(shop.rule) == anew


def test_objects_of_our_own_come_and_go(shop: Shop) -> None:
    plane = shop.plane()
    plane.write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)
    plane.write(shop.edge, Knob.RETRIES, RetryPolicy(1, 0.15))
    assert [ref.name for ref, _ in shop.api.list_of(shop.rule.kind, shop.namespace)] == ["api-governor"]
    plane.write(shop.edge, Knob.IN_FLIGHT_CAP, InFlightCap(None, None))
    own = [body["spec"] for _, body in shop.api.list_of(shop.rule.kind, shop.namespace)]
    assert own == [
        {"host": shop.host, "trafficPolicy": {"retryBudget": {"percent": 15, "minRetryConcurrency": 3}}}
    ]
    plane.release()
    for kind in (shop.rule.kind, shop.route.kind):
        assert list(shop.api.list_of(kind, shop.namespace)) == []


def test_a_follower_writes_nothing_at_all(shop: Shop) -> None:
    shop.owner_writes(shop.rule, RULE)

    def fence() -> None:
        raise NotLeader("another replica leads")

    api = KubernetesApi(api_client(shop.cluster.kubeconfig), fence=fence)
    with pytest.raises(NotLeader):
        shop.plane(api).write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)
    assert shop.spec(shop.rule) == RULE


def test_callers_who_share_an_object_do_not_fight_over_it(shop: Shop) -> None:
    shop.owner_writes(shop.rule, RULE)
    shop.index = shop.index_of("app", "web")
    plane = shop.plane()
    with pytest.raises(ControlPlaneError, match=r"serve all of its callers \(app\."):
        plane.write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)
    plane.write(shop.edge, Knob.OUTLIER_DETECTION, OutlierDetection(0.3, 7))
    other = Target(shop.edge.kind, f"app.{shop.namespace}|{shop.host}")
    with pytest.raises(ControlPlaneError, match=r"follow web\."):
        plane.write(other, Knob.OUTLIER_DETECTION, OutlierDetection(0.2, 7))


def test_flagger_is_not_interfered_with(shop: Shop) -> None:
    marks = {
        "ownerReferences": [{"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "a", "uid": "u"}]
    }
    shop.owner_writes(shop.route, ROUTE, may_edit="all", **marks)
    with pytest.raises(ControlPlaneError, match="Flagger"):
        shop.plane().write(shop.edge, Knob.WEIGHTS, BackendWeights((("v1", 0.7), ("v2", 0.3))))


@pytest.mark.usefixtures("istiod")
def test_istios_webhook_judges_the_dry_run_and_nothing_is_left(shop: Shop) -> None:
    shop.owner_writes(shop.rule, RULE)
    images_of_it = BeforeImages(shop.api, shop.namespace)
    writer = KubernetesWriter(shop.api, images_of_it)
    now = shop.api.get(shop.rule)
    path = ("spec", "trafficPolicy", "outlierDetection", "maxEjectionPercent")
    image = BeforeImage(shop.rule, now["metadata"]["uid"], shop.edge, Knob.OUTLIER_DETECTION, {})
    with pytest.raises(WriteRejected, match=r"not in range 0\.\.100"):
        writer.make(Change(shop.rule, (Edit(path, 120),)), now, image, frozenset())
    assert shop.spec(shop.rule) == RULE
    assert images(shop) == 0

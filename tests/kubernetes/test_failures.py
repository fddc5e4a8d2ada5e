"""An API server that fails in every way: nothing is half done without a record, and all can be given back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import ReadTimeoutError

from governor.adapters.kubernetes_api import KubernetesApi, RateBudget
from governor.adapters.kubernetes_client import api_client
from governor.errors import ControlPlaneError, WriteRejected, WriteUnconfirmed
from governor.knobs import InFlightCap, Knob, Receipt, RetryPolicy
from tests.kubernetes.conftest import Cluster, pointing_nowhere
from tests.kubernetes.istio_shop import ROUTE, RULE, Shop

CAP = InFlightCap(50, None)
LOST = object()
"""The request arrives and is done; its answer does not come back."""


class _Answer:
    """An answer that no server gave."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self.status, self._headers = status, headers or {}
        self._text = json.dumps({"kind": "Status", "message": message}).encode()

    def read(self) -> bytes:
        return self._text

    def getheader(self, name: str) -> str | None:
        return self._headers.get(name)


class FlakyClient:
    """The real client, except for requests that `fault` answers itself or breaks off afterwards."""

    def __init__(self, cluster: Cluster, fault: Callable[[str, str], Any]) -> None:
        self._real, self._fault = api_client(cluster.kubeconfig), fault
        self.configuration = self._real.configuration
        self.param_serialize = self._real.param_serialize

    def call_api(self, method: str, url: str, *rest: Any, **more: Any) -> Any:
        answer = self._fault(method, url)
        if isinstance(answer, _Answer):
            return answer
        found = self._real.call_api(method, url, *rest, **more)
        if answer is LOST:
            raise ReadTimeoutError(None, url, "no answer in time")  # type: ignore[arg-type]
        return found


@pytest.fixture
def shop(cluster: Cluster, namespace: str) -> Shop:
    made = Shop(cluster, namespace)
    made.owner_writes(made.rule, RULE)
    return made


def api_with(shop: Shop, fault: Callable[[str, str], Any]) -> KubernetesApi:
    return KubernetesApi(FlakyClient(shop.cluster, fault), RateBudget(1000.0, 1000))  # type: ignore[arg-type]


def capped(shop: Shop, fault: Callable[[str, str], Any]) -> Receipt:
    """A cap is written through a server with the fault."""
    return shop.plane(api_with(shop, fault)).write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)


def writes_rule(method: str, url: str) -> bool:
    return method == "PATCH" and "/destinationrules/" in url and "dryRun" not in url


def once(answer: Any, when: Callable[[str, str], bool]) -> Callable[[str, str], Any]:
    left = [answer]

    def fault(method: str, url: str) -> Any:
        return left.pop() if left and when(method, url) else None

    return fault


def always(answer: Any, when: Callable[[str, str], bool]) -> Callable[[str, str], Any]:
    return lambda method, url: answer if when(method, url) else None


def whole(shop: Shop) -> None:
    """Whatever happened, a release gives the owner's object back as it was."""
    shop.plane(read=False).release()
    assert shop.spec(shop.rule) == RULE


def test_a_server_that_asks_for_patience_gets_it(shop: Shop) -> None:
    fault = once(_Answer(429, "too many requests", {"Retry-After": "0.1"}), writes_rule)
    assert capped(shop, fault).after == CAP
    whole(shop)


def test_a_server_that_never_stops_asking_is_reported(shop: Shop) -> None:
    fault = always(_Answer(429, "too many requests", {"Retry-After": "0"}), writes_rule)
    with pytest.raises(ControlPlaneError, match="429"):
        capped(shop, fault)
    whole(shop)


def test_a_write_that_failed_with_500_and_did_not_happen_is_unconfirmed(shop: Shop) -> None:
    fault = always(_Answer(500, "etcdserver: request timed out"), writes_rule)
    with pytest.raises(WriteUnconfirmed, match="etcdserver"):
        capped(shop, fault)
    assert shop.spec(shop.rule) == RULE
    whole(shop)


def test_a_write_whose_answer_is_lost_is_recognised_by_its_effect(shop: Shop) -> None:
    assert capped(shop, once(LOST, writes_rule)).after == CAP
    assert shop.spec(shop.rule)["trafficPolicy"]["connectionPool"]["http"] == {"http2MaxRequests": 50}
    whole(shop)


def test_a_write_and_every_look_after_it_lost_leaves_its_before_image(shop: Shop) -> None:
    broken = [False]

    def fault(method: str, url: str) -> Any:
        broken[0] = broken[0] or writes_rule(method, url)
        return LOST if broken[0] else None

    with pytest.raises(WriteUnconfirmed):
        capped(shop, fault)
    assert shop.spec(shop.rule)["trafficPolicy"]["connectionPool"]["http"] == {"http2MaxRequests": 50}
    whole(shop)


def test_a_read_is_tried_again(shop: Shop) -> None:
    fault = once(_Answer(503, "starting"), lambda method, url: method == "GET" and "destinationrules" in url)
    assert capped(shop, fault).after == CAP
    whole(shop)


def test_a_conflict_that_never_ends_is_reported_and_nothing_is_written(shop: Shop) -> None:
    fault = always(_Answer(409, "the object has been modified"), writes_rule)
    with pytest.raises(ControlPlaneError, match="changed meanwhile"):
        capped(shop, fault)
    assert shop.spec(shop.rule) == RULE
    whole(shop)


def test_an_object_that_changes_while_it_is_given_back_is_looked_at_again(shop: Shop) -> None:
    shop.plane().write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)
    fault = once(_Answer(409, "the object has been modified"), writes_rule)
    assert "was given back" in shop.plane(api_with(shop, fault), read=False).release()[0]
    assert shop.spec(shop.rule) == RULE


def test_which_kinds_there_are_is_asked_once_and_again_when_one_is_gone(shop: Shop) -> None:
    asked: list[str] = []
    gone = once(
        _Answer(404, "the server could not find it"), lambda _, url: len(asked) == 1 and _lists_rules(url)
    )

    def fault(method: str, url: str) -> Any:
        if url.partition("?")[0].endswith("/apis/networking.istio.io/v1"):
            asked.append(method)
        return gone(method, url) if again else None

    again = False
    plane = shop.plane(api_with(shop, fault))
    before = plane.read(shop.index)
    assert asked == ["GET"]
    again = True
    assert plane.read(shop.index) is before
    assert asked == ["GET", "GET"]


def _lists_rules(url: str) -> bool:
    return url.partition("?")[0].endswith("/destinationrules")


def test_the_first_of_two_objects_is_put_back_when_the_second_is_refused(shop: Shop) -> None:
    shop.owner_writes(shop.route, ROUTE, may_edit="retries")
    fault = always(
        _Answer(400, 'admission webhook "x" denied the request: no'),
        lambda method, url: method == "PATCH" and "/virtualservices/" in url,
    )
    with pytest.raises(WriteRejected, match="denied the request"):
        shop.plane(api_with(shop, fault)).write(shop.edge, Knob.RETRIES, RetryPolicy(1, 0.1))
    assert shop.spec(shop.rule) == RULE
    assert shop.spec(shop.route) == ROUTE
    whole(shop)


def test_a_before_image_that_cannot_be_kept_stops_the_write(shop: Shop) -> None:
    fault = always(_Answer(403, "forbidden"), lambda method, url: method == "PATCH" and "/configmaps/" in url)
    with pytest.raises(ControlPlaneError, match="not allowed"):
        capped(shop, fault)
    assert shop.spec(shop.rule) == RULE


def test_kinds_that_are_removed_meanwhile_are_named(shop: Shop) -> None:
    plane = shop.plane(
        api_with(shop, always(_Answer(404, "the server could not find the requested resource"), writes_rule))
    )
    with pytest.raises(ControlPlaneError, match="is not there"):
        plane.write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)
    whole(shop)


def test_no_server_at_all_says_where_it_was_looked_for(shop: Shop, tmp_path: Path) -> None:
    nowhere = pointing_nowhere(shop.cluster.kubeconfig, tmp_path)
    with pytest.raises(ControlPlaneError, match=r"127\.0\.0\.1:1 does not answer"):
        shop.plane(KubernetesApi(api_client(nowhere)))

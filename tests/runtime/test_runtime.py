import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest

from governor.errors import GovernorError
from governor.explain.report import Advice
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.schedule import run_every
from governor.runtime.status import Status
from governor.runtime.web import application, serving
from governor.settings import HealthSettings, LogSettings


class Watch:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


ADVICE = Advice(0.0, 15.0, [], [])


def test_alive_is_about_finished_cycles_and_ready_about_good_ones() -> None:
    watch = Watch()
    status = Status(15.0, watch)
    assert status.alive
    assert not status.ready
    status.succeeded(ADVICE)
    assert status.ready
    status.failed("SourceUnreachable: x")
    assert status.alive
    assert not status.ready
    assert status.snapshot.advice is ADVICE
    watch.time = 61.0
    assert not status.alive


def get(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_pages() -> None:
    status, metrics = Status(15.0), GovernorMetrics("1.2.3", "recommend")
    with serving(application(status, metrics), HealthSettings(port=0)) as address:
        assert address is not None
        assert get(address + "/healthz")[0] == 200
        code, body = get(address + "/readyz")
        assert (code, json.loads(body)["why"]) == (503, "no cycle has finished yet")
        status.succeeded(ADVICE)
        metrics.cycles.labels("ok").inc()
        assert get(address + "/readyz")[0] == 200
        assert "Nothing to recommend" in get(address + "/")[1]
        text = get(address + "/metrics")[1]
        assert 'governor_cycles_total{outcome="ok"} 1.0' in text
        assert 'governor_info{mode="recommend",version="1.2.3"} 1.0' in text
        assert get(address + "/", "POST")[0] == 405
    with pytest.raises(urllib.error.URLError):
        get(address + "/healthz")


def test_a_busy_port_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = HealthSettings(port=taken.getsockname()[1])
        app = application(Status(1.0), GovernorMetrics("1", "recommend"))
        with pytest.raises(GovernorError, match="cannot listen on"), serving(app, settings):
            pass


def test_no_page_where_it_is_switched_off() -> None:
    app = application(Status(1.0), GovernorMetrics("1", "recommend"))
    with serving(app, HealthSettings(enabled=False)) as address:
        assert address is None


def test_the_schedule_begins_at_once_and_stops_when_told() -> None:
    runs: list[float] = []
    run_every(0.05, lambda: runs.append(time.monotonic()), lambda *_: None, stop_after=lambda: len(runs) >= 3)
    assert len(runs) == 3


def test_an_error_in_a_cycle_is_counted_and_the_next_one_comes() -> None:
    runs: list[int] = []
    events: list[tuple[str, str]] = []

    def job() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("boom")

    run_every(0.05, job, lambda event, error: events.append((event, repr(error))), lambda: len(runs) >= 2)
    assert ("error", "ValueError('boom')") in events


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_cycle_and_returns(number: signal.Signals) -> None:
    finished = threading.Event()
    before = signal.getsignal(number)

    def job() -> None:
        os.kill(os.getpid(), number)
        time.sleep(0.2)
        finished.set()

    run_every(30.0, job, lambda *_: None)
    assert finished.is_set()
    assert signal.getsignal(number) == before


def test_a_signal_before_the_start_runs_nothing() -> None:
    stop = threading.Event()
    stop.set()
    runs: list[int] = []
    run_every(30.0, lambda: runs.append(1), lambda *_: None, stop=stop)
    assert runs == []


def test_a_cycle_that_is_longer_than_the_period_never_runs_twice_at_once() -> None:
    running = threading.Lock()
    runs: list[bool] = []
    events: list[str] = []

    def job() -> None:
        runs.append(running.acquire(blocking=False))
        time.sleep(0.25)
        running.release()

    run_every(0.1, job, lambda event, _: events.append(event), lambda: len(runs) >= 2)
    assert runs == [True, True]
    assert "max_instances" in events


def test_logs_are_json_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    import structlog

    from governor.runtime.logging import configure

    configure(LogSettings(format="json", level="warning"))
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud", knob="weights")
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert json.loads(line)["knob"] == "weights"
    structlog.reset_defaults()

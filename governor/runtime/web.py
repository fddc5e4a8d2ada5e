"""The instance's web page: /healthz, /readyz, /metrics and the last advice. Nothing here changes anything."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from governor.errors import GovernorError
from governor.explain.report import to_html
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.status import Status
from governor.settings import HealthSettings

STOP_S = 5.0
"""How long the web thread may take to end."""
_NO_SCRIPTS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def application(status: Status, metrics: GovernorMetrics) -> Starlette:
    """The four pages; only GET and HEAD."""

    def healthz(_: Request) -> Response:
        body = {"last_cycle_age_s": round(status.age_s, 3), "cycles": status.snapshot.finished}
        return JSONResponse(body, status_code=200 if status.alive else 503)

    def readyz(_: Request) -> Response:
        now = status.snapshot
        why = now.last_error or ("" if now.finished else "no cycle has finished yet")
        # A model that is refused is no reason to take the governor out: the baseline serves.
        body = {"ready": status.ready, "why": why, "models": status.models, "following": status.following}
        return JSONResponse(body, status_code=200 if status.ready else 503)

    def own_metrics(_: Request) -> Response:
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def page(_: Request) -> Response:
        advice = status.snapshot.advice
        if advice is None:
            return HTMLResponse("<!doctype html><title>governor</title><p>No cycle has finished yet.")
        return HTMLResponse(to_html(advice, "Mesh governor: the last cycle"), headers=_NO_SCRIPTS)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", own_metrics),
            Route("/", page),
        ]
    )


@contextmanager
def serving(app: Starlette, settings: HealthSettings) -> Iterator[str | None]:
    """Serve `app` in a thread while the block runs; gives its address, or None where it is switched off."""
    if not settings.enabled:
        yield None
        return
    listener = _listen(settings.host, settings.port)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="web", daemon=True)
    thread.start()
    try:
        yield "http://{}:{}".format(*listener.getsockname()[:2])
    finally:
        server.should_exit = True
        thread.join(STOP_S)
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise GovernorError(
            f"health page: cannot listen on {host}:{port}: {error.strerror or error}; "
            "set health.port or health.host"
        ) from error
    return listener

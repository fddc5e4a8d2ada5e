"""A small keep-alive HTTP/1.1 client for GETs without bodies, on raw asyncio protocols.

A general client costs several times as much processor time a request, and a lab shares two cores
with everything it measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

OnStatus = Callable[[int], None]
"""Told the status of the response, or CONNECTION_LOST."""

CONNECTION_LOST = 0


class _Connection(asyncio.Protocol):
    """One connection; at most one request at a time on it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._on_status: OnStatus | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def send(self, request: bytes, on_status: OnStatus) -> None:
        self._on_status = on_status
        assert self._transport is not None
        self._transport.write(request)

    def abandon(self) -> None:
        """Give the request up, as a client does that has waited long enough."""
        self._on_status = None
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._received[:head_end].lower()
        length = _content_length(head)
        if len(self._received) < head_end + 4 + length:
            return
        self._received = b""
        on_status, self._on_status = self._on_status, None
        status = int(head[9:12])
        if b"\r\nconnection: close" in head:
            assert self._transport is not None
            self._transport.close()
        else:
            self._pool.release(self)
        if on_status is not None:
            on_status(status)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._pool.forget(self)
        on_status, self._on_status = self._on_status, None
        if on_status is not None:
            on_status(CONNECTION_LOST)


def _content_length(head: bytes) -> int:
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    start = at + len(b"\r\ncontent-length:")
    end = head.find(b"\r\n", start)
    return int(head[start : end if end >= 0 else len(head)])


class Call:
    """A request under way."""

    def __init__(self) -> None:
        self.connection: _Connection | None = None
        self.abandoned = False

    def abandon(self) -> None:
        """Give up: the connection is closed and `on_status` will not be called."""
        self.abandoned = True
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None


class Pool:
    """Keep-alive connections to one host and port, opened as needed."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []
        self._opening: set[asyncio.Task[None]] = set()

    def get(self, request: bytes, on_status: OnStatus) -> Call:
        """Send the bytes of a request; `on_status` is called once with the outcome."""
        call = Call()

        def finished(status: int) -> None:
            call.connection = None
            on_status(status)

        if self._idle:
            connection = self._idle.pop()
            call.connection = connection
            connection.send(request, finished)
        else:
            task = asyncio.get_running_loop().create_task(self._open(call, request, finished))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        return call

    async def _open(self, call: Call, request: bytes, finished: OnStatus) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except OSError:
            if not call.abandoned:
                finished(CONNECTION_LOST)
            return
        if call.abandoned:
            connection.abandon()
            return
        call.connection = connection
        connection.send(request, finished)

    def release(self, connection: _Connection) -> None:
        """Take a connection back after a whole response."""
        self._idle.append(connection)

    def forget(self, connection: _Connection) -> None:
        """Drop a connection that is closed."""
        if connection in self._idle:
            self._idle.remove(connection)

"""A TCP proxy on loopback that hands on what a client sends only after a while."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self


class SlowProxy:
    """Between clients and one port of this machine; `delay_s` may be changed at any time."""

    def __init__(self, target: int) -> None:
        self.delay_s, self.port = 0.0, 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _end(self) -> None:
        self._server.close()
        own = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not own]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._hand_on(reader, back, slow=True), self._hand_on(there, writer, slow=False))
        for end in (writer, back):
            end.close()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        # Read on while something is held: a request in two pieces is as late as one in one piece, and not twice.
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        leaving = asyncio.create_task(self._hand_out(held, writer))
        with suppress(OSError):
            while data := await reader.read(65536):
                held.put_nowait((self._loop.time() + (self.delay_s if slow else 0.0), data))
        held.put_nowait((0.0, b""))
        await leaving

    async def _hand_out(self, held: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                due, data = await held.get()
                if not data:
                    break
                await asyncio.sleep(due - self._loop.time())
                writer.write(data)
                await writer.drain()
        writer.close()

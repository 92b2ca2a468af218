"""Proxy that injects network faults into HTTP exchanges with given probabilities."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

FAULTS = (
    "drop before",  # the request does not arrive
    "drop after",  # the response does not arrive
    "delay",
    "late",  # the client is cut off, as if its time was up, and the request arrives afterwards
    "truncate",
    "corrupt answer",  # one bit anywhere
    "corrupt request",  # one bit of the body, as no digest covers a request's headers
    "duplicate",  # the request arrives twice at once
)

_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_CONNECTION = re.compile(rb"^connection:.*\r\n", re.IGNORECASE | re.MULTILINE)


class FaultyProxy:
    """Forwards HTTP, one exchange per connection, and injects faults into some exchanges.

    Args:
        port: port of the server on this machine.
        share: share of exchanges with a fault.
        seed: seed of the choice of exchanges and faults.
        faults: possible faults, from :data:`FAULTS`.
        delay: longest delay in seconds.
        restart: restarts the server and returns when it is ready.
        restarts: share of exchanges before which the server is restarted, besides the faults.

    Attributes:
        url: address of the proxy.
        done: number of exchanges, and of each fault.
    """

    def __init__(
        self,
        port: int,
        *,
        share: float = 0.3,
        seed: int = 0,
        faults: Sequence[str] = FAULTS,
        delay: float = 0.05,
        restart: Callable[[], Any] | None = None,
        restarts: float = 0.0,
    ) -> None:
        self._port, self._share, self._faults, self._delay = port, share, faults, delay
        self._restart, self._restarts = restart, restarts
        self._rng = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.url = ""
        self._restarting = asyncio.Lock()  # one at a time takes the port again
        self._late: list[asyncio.Task[None]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await self._exchange(await _request(reader))
            if answer:
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # one side has closed the connection; the other detects that
        finally:
            writer.close()

    async def _exchange(self, request: tuple[bytes, bytes]) -> bytes:
        """The response that the client gets."""
        head, body = request
        rng = self._rng
        self.done["exchanges"] += 1
        fault = rng.choice(self._faults) if rng.random() < self._share else ""
        if fault == "corrupt request" and not body:
            fault = "corrupt answer"
        place, amount = rng.random(), rng.random()
        if self._restart and rng.random() < self._restarts:
            self.done["restart"] += 1
            async with self._restarting:
                await asyncio.to_thread(self._restart)
        if fault:
            self.done[fault] += 1
        if fault == "drop before":
            return b""
        if fault == "corrupt request":
            body = _flipped(body, place, amount)
        if fault == "delay":
            await asyncio.sleep(self._delay * amount)
        if fault == "late":
            self._late.append(asyncio.create_task(self._forward_late(head, body, amount)))
            return b""
        if fault == "duplicate":
            answers = await asyncio.gather(self._forward(head, body), self._forward(head, body))
            return rng.choice(answers)
        answer = await self._forward(head, body)
        if fault == "drop after":
            return b""
        if fault == "truncate":
            return answer[: int(place * len(answer))]
        if fault == "corrupt answer" and answer:
            return _flipped(answer, place, amount)
        return answer

    async def _forward_late(self, head: bytes, body: bytes, amount: float) -> None:
        await asyncio.sleep(self._delay * amount)
        with suppress(OSError):  # the server may be restarting
            await self._forward(head, body)

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(head + body)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a request, with a header that closes the connection after the response."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else b""
    start, _, rest = head.partition(b"\r\n")
    return start + b"\r\nConnection: close\r\n" + _CONNECTION.sub(b"", rest), body


def _flipped(data: bytes, place: float, amount: float) -> bytes:
    """The data with one bit changed."""
    at = int(place * len(data))
    return data[:at] + bytes([data[at] ^ 1 << int(8 * amount)]) + data[at + 1 :]

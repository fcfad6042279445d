"""A load generator in a process of its own: reads a plan as JSON, asks, and answers what it saw as JSON.

It speaks HTTP over bare asyncio transports, because a client library would cost more than the server it measures.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import httptools
import uvloop

_HEAD_BYTES = 64 * 1024


@dataclass(slots=True)
class Plan:
    """What to ask: `count` requests, `concurrency` at a time, each on a connection that is kept.

    `{number}` in the body becomes the number of the request. `is_downloading` fetches the image behind the link of
    each answer and counts it into the request's time. An answer is good if its status is `status` and `expected`
    stands in its first 64 KB. `image_bytes` is what the first answer's image must weigh, 0 for no check.
    """

    port: int
    target: str
    headers: dict[str, str]
    body: str
    count: int
    concurrency: int
    status: int = 200
    expected: str = ""
    is_downloading: bool = False
    image_bytes: int = 0
    method: str = "POST"
    timeout_seconds: float = 200.0
    first_number: int = 0


@dataclass(slots=True)
class Seen:
    """What came of a plan; times in seconds, `bad` holds the beginnings of a few answers that were not good."""

    good_count: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    byte_count: int = 0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One kept connection; one request at a time. Of a large body only the beginning is kept, unless asked."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._answer: asyncio.Future[int] | None = None
        self.is_open = False
        self.body = bytearray()
        self.byte_count = 0
        self.is_keeping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.is_open = True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, piece: bytes) -> None:
        self.byte_count += len(piece)
        if self.is_keeping or len(self.body) < _HEAD_BYTES:
            self.body += piece

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() == 100:
            return
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._parser.get_status_code())

    async def ask(self, request: bytes, *, is_keeping: bool = False) -> int:
        """Send a request and answer its status once the whole answer is here."""
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self.body, self.byte_count, self.is_keeping = bytearray(), 0, is_keeping
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.close()


class Client:
    """Carries out one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._next = 0
        self.seen = Seen()
        self._statuses: Counter[str] = Counter()
        self._tail = "".join(f"{name}: {value}\r\n" for name, value in plan.headers.items())

    async def run(self) -> Seen:
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(self._worker() for _ in range(min(self._plan.concurrency, self._plan.count))))
        self.seen.wall_seconds = time.perf_counter() - started
        self.seen.cpu_seconds = time.process_time() - cpu
        self.seen.statuses = dict(self._statuses)
        return self.seen

    async def _worker(self) -> None:
        connection = Connection()
        while self._next < self._plan.count:
            number = self._next
            self._next += 1
            if not connection.is_open:
                connection = await self._connect()
            started = time.perf_counter()
            try:
                async with asyncio.timeout(self._plan.timeout_seconds):
                    is_good = await self._one(connection, number)
            except (OSError, TimeoutError, httptools.HttpParserError) as error:
                self._note(type(error).__name__, str(error))
                connection.close()
                continue
            self.seen.good_count += is_good
            self.seen.latencies.append(round(time.perf_counter() - started, 6))
        connection.close()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            try:
                _, connection = await loop.create_connection(Connection, "127.0.0.1", self._plan.port)
                return connection
            except OSError:
                await asyncio.sleep(0.25)
        raise ConnectionRefusedError(f"nobody listens on port {self._plan.port}")

    async def _one(self, connection: Connection, number: int) -> bool:
        plan = self._plan
        body = plan.body.replace("{number}", str(plan.first_number + number)).encode()
        status = await connection.ask(self._request(plan.method, plan.target, body), is_keeping=number == 0)
        self._statuses[str(status)] += 1
        self.seen.byte_count += connection.byte_count
        is_good = status == plan.status and plan.expected.encode() in connection.body
        if not is_good:
            self._note("", bytes(connection.body[:300]).decode(errors="replace"))
        elif plan.is_downloading:
            return await self._download(connection, number)
        elif number == 0 and plan.image_bytes:
            return self._has_image(bytes(connection.body))
        return is_good

    def _has_image(self, body: bytes) -> bool:
        weight = len(base64.b64decode(json.loads(body)["outputs"][0]["b64_json"]))
        if weight != self._plan.image_bytes:
            self._note("image", f"{weight} bytes instead of {self._plan.image_bytes}")
        return weight == self._plan.image_bytes

    async def _download(self, connection: Connection, number: int) -> bool:
        url = str(json.loads(connection.body)["outputs"][0]["url"])
        status = await connection.ask(self._request("GET", "/" + url.split("/", 3)[3], b""))
        self.seen.byte_count += connection.byte_count
        is_right_size = connection.byte_count == (self._plan.image_bytes or connection.byte_count)
        is_good = status == 200 and (number > 0 or is_right_size)
        if not is_good:
            self._note(f"download {status}", bytes(connection.body[:300]).decode(errors="replace"))
        return is_good

    def _request(self, method: str, target: str, body: bytes) -> bytes:
        head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{self._plan.port}\r\n{self._tail}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def _note(self, status: str, text: str) -> None:
        if status:
            self._statuses[status] += 1
        if len(self.seen.bad) < 5:
            self.seen.bad.append(f"{status} {text}".strip())


def main() -> None:
    plan = Plan(**json.load(sys.stdin))
    print(json.dumps(asdict(uvloop.run(Client(plan).run()))))


if __name__ == "__main__":
    main()

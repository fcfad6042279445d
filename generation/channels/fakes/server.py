"""A provider of our own on a loopback port, whatever its wire: scripted faults, recorded requests; it calls nobody."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from generation.channels.fakes.faults import Fault, fault_in
from generation.channels.fakes.http import Connection, Reply, Request
from generation.channels.fakes.wires import deliver

_HOST = "127.0.0.1"
_BACKLOG = 2048
_DRAWING_THREADS = 2


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request for work. `received_at` is on the monotonic clock, in seconds; `body` is None if it is no JSON."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    received_at: float


class FakeUpstream(ABC):
    """A server in a thread of its own: `with FakeGemini() as fake: ... fake.base_url`.

    `script` holds the faults of the next requests for work, one each (None plays none). When it is empty,
    `fault_for` is asked, and after it the prompt (`fake:<name>[:argument]`). `requests` grows only while
    `is_recording`; `abandoned_count` counts clients that left before their whole answer.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        latency_seconds: float = 0.0,
        is_recording: bool = True,
    ) -> None:
        self.script: list[Fault | None] = []
        self.fault_for: Callable[[Recorded], Fault | None] | None = None
        self.requests: list[Recorded] = []
        self.is_recording = is_recording
        self.latency_seconds = latency_seconds
        self.in_flight_count = 0
        self.peak_in_flight = 0
        self.abandoned_count = 0
        self.base_url = ""
        self._port = port
        self._conversations: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._failure: OSError | None = None
        self._thread: threading.Thread | None = None

    @abstractmethod
    def is_work(self, request: Request) -> bool:
        """Whether a request asks for work: only those are counted, recorded and struck by faults."""

    @abstractmethod
    def prompt_of(self, body: Any) -> str:
        """The words of a request, in which a fault may be named."""

    @abstractmethod
    def respond(self, request: Request, body: Any, fault: Fault) -> Reply:
        """The complete answer, errors included. CPU-bound: it draws."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listens; raises OSError when the port is taken."""
        self._started.clear()
        self._failure = None
        self._thread = threading.Thread(target=self._run, name="fake-upstream", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Hangs up on everybody and waits until the thread has ended; more than once does no harm."""
        if self._thread and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._executor = ThreadPoolExecutor(_DRAWING_THREADS, thread_name_prefix="fake-upstream-drawing")
        server = await asyncio.start_server(self._converse, _HOST, self._port, backlog=_BACKLOG)
        self.base_url = f"http://{_HOST}:{server.sockets[0].getsockname()[1]}"
        self._started.set()
        await self._stopping.wait()
        server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        self._executor.shutdown(cancel_futures=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a conversation is always a task"
        self._conversations.add(task)
        connection = Connection(reader, writer)
        try:
            while connection.is_kept and (request := await connection.receive()):
                await self._exchange(connection, request)
            await connection.close()
        except asyncio.CancelledError:
            connection.abort()
        finally:
            self._conversations.discard(task)

    async def _exchange(self, connection: Connection, request: Request) -> None:
        is_counted = self.is_work(request)
        self.in_flight_count += is_counted
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight_count)
        try:
            reply, fault = await self._loop.run_in_executor(self._executor, self._answer, request, time.monotonic())
            if not await connection.has_waited(fault.latency_seconds + self.latency_seconds * is_counted):
                raise ConnectionResetError("the client left")
            await deliver(connection, reply, fault)
        except OSError:
            self.abandoned_count += 1
            connection.is_kept = False
        finally:
            self.in_flight_count -= is_counted

    def _answer(self, request: Request, received_at: float) -> tuple[Reply, Fault]:
        body = parsed_body(request)
        fault = Fault()
        if self.is_work(request):
            recorded = Recorded(request.path, request.query, request.headers, body, received_at)
            if self.is_recording:
                self.requests.append(recorded)
            fault = self._fault(recorded) or fault
        return self.respond(request, body, fault), fault

    def _fault(self, recorded: Recorded) -> Fault | None:
        if self.script:
            return self.script.pop(0)
        if self.fault_for and (fault := self.fault_for(recorded)):
            return fault
        return fault_in(self.prompt_of(recorded.body))


def parsed_body(request: Request) -> Any:
    """The JSON of a request, or None where there is none."""
    try:
        return json.loads(request.body)
    except ValueError:
        return None

"""The fixtures of the faults that need processes: a fake upstream, and the service in both of its forms."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from generation.channels.fakes.gemini import FakeGemini
from tests.faults.crashing import VARIABLES
from tests.faults.instances import PostgreSQL, Redis, skip_without, started
from tests.faults.processes import Embedded, GrownUp, House, Site, environment_of

# One prompt after another, each of its own account's money: ten dollars of the demo account are soon spent.
GRANT_DOLLARS = 1000


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL of this test process."""
    skip_without(PostgreSQL=PostgreSQL.binary)
    with started(PostgreSQL) as instance:
        yield instance


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Redis of this test process."""
    skip_without(Redis=Redis.binary)
    with started(Redis) as instance:
        yield instance


@pytest.fixture(scope="module")
def module_gemini() -> Iterator[FakeGemini]:
    with FakeGemini(cached=True) as fake:
        yield fake


@pytest.fixture
def gemini(module_gemini: FakeGemini) -> Iterator[FakeGemini]:
    """A fake upstream that has forgotten the tests before."""
    module_gemini.script.clear()
    module_gemini.requests.clear()
    module_gemini.fault_for = None
    module_gemini.latency_seconds = 0.0
    yield module_gemini
    module_gemini.fault_for = None


@contextmanager
def _house(kind: type[House], environment: dict[str, str]) -> Iterator[Any]:
    folder = Path(tempfile.mkdtemp(prefix="nbp-house-"))
    everywhere = {name: environment.pop(name) for name in VARIABLES if name in environment}
    house = kind(Site(folder, environment), **everywhere)
    try:
        house.start()
        house.site.grant(GRANT_DOLLARS)
        yield house
    finally:
        house.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def module_embedded(module_gemini: FakeGemini) -> Iterator[Embedded]:
    with _house(Embedded, environment_of(module_gemini.base_url)) as house:
        yield house


def grown_up_environment(
    gemini: FakeGemini, postgresql: PostgreSQL, redis_server: Redis, *, database_port: int = 0, redis_place: int = 0
) -> dict[str, str]:
    """A web process on a database of its own; workers come with the test.

    Houses whose workers run at the same time need different places in Redis: who takes a nudge of another house drops it,
    and ten seconds go by until it is sent again.
    """
    return environment_of(
        gemini.base_url,
        DATABASE_URL=postgresql.url(postgresql.create_database(), port=database_port),
        REDIS_URL=redis_server.url(2 * redis_place + 1),
        CELERY_BROKER_URL=redis_server.url(2 * redis_place),
        NBP_SERVE_ARGUMENTS="--no-worker",
        # A proxy in between reads the statements.
        NBP_PREPARE_STATEMENTS="false" if database_port else "true",
    )


@pytest.fixture(scope="module")
def module_grown_up(
    request: pytest.FixtureRequest, module_gemini: FakeGemini, postgresql: PostgreSQL, redis_server: Redis
) -> Iterator[GrownUp]:
    """A test module may want other settings: its ENVIRONMENT."""
    own = getattr(request.module, "ENVIRONMENT", {})
    with _house(GrownUp, grown_up_environment(module_gemini, postgresql, redis_server) | own) as house:
        yield house


@pytest.fixture
def embedded(module_embedded: Embedded, gemini: FakeGemini) -> Iterator[Embedded]:
    """The service as one process over SQLite. Every process of it is gone after the test, its rows stay."""
    yield module_embedded
    module_embedded.dismiss()


@pytest.fixture
def grown_up(module_grown_up: GrownUp, redis_server: Redis, gemini: FakeGemini) -> Iterator[GrownUp]:
    """The service as a web process and workers, over PostgreSQL and Redis. Rows and the web process stay, the queue is emptied."""
    yield module_grown_up
    module_grown_up.dismiss()
    redis_server.client().flushall()


@pytest.fixture(params=["SQLite", pytest.param("PostgreSQL", marks=pytest.mark.services)])
def house(request: pytest.FixtureRequest) -> Any:
    """Each form of the service in turn."""
    return request.getfixturevalue("embedded" if request.param == "SQLite" else "grown_up")


@pytest.fixture
def make_embedded(gemini: FakeGemini) -> Iterator[Callable[..., Embedded]]:
    """make_embedded(NAME="value", ...): one more, with other settings, gone after the test."""
    with ExitStack() as made:

        def make(**environment: str) -> Embedded:
            house: Embedded = made.enter_context(_house(Embedded, environment_of(gemini.base_url, **environment)))
            return house

        yield make


@pytest.fixture
def make_grown_up(gemini: FakeGemini, postgresql: PostgreSQL, redis_server: Redis) -> Iterator[Callable[..., GrownUp]]:
    """make_grown_up(NAME="value", ...): one more, on a database of its own, gone after the test."""
    with ExitStack() as made:

        def make(*, database_port: int = 0, **environment: str) -> GrownUp:
            base = grown_up_environment(gemini, postgresql, redis_server, database_port=database_port)
            house: GrownUp = made.enter_context(_house(GrownUp, base | environment))
            return house

        yield make
    redis_server.client().flushall()

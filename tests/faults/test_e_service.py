"""E: many at once for the same money, against a running service: nobody spends what is not there, nothing is sold twice."""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest

from tests.live.conftest import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PRICE_MICROS, AFFORDABLE_COUNT = 147_400, 7
NEW_PEOPLE = """
import json
from datetime import UTC, datetime
from accounts import keys, registration
from accounts.models import User
raw_keys = []
for number in range({count}):
    user = User.objects.create_user(f"racer{{number}}@example.com", "correct horse battery")
    account = registration.open_account(name=f"racer {{number}}", owner=user, now=datetime.now(UTC))
    raw_keys.append(keys.issue(account=account, mode="test", name="race").raw)
print("KEYS " + json.dumps(raw_keys))
"""


class Market:
    """A running service and people in it who each have money for seven images."""

    def __init__(self, service: Service, raw_keys: list[str]) -> None:
        self.service = service
        self._raw_keys = raw_keys

    def somebody(self) -> str:
        """The key of an account that has not bought anything yet."""
        return self._raw_keys.pop()

    def at_once(self, *requests: tuple[str, dict[str, Any], dict[str, str]]) -> list[httpx2.Response]:
        """Send all of them at the same time: (key, fields, headers) each."""
        return asyncio.run(self._gather(requests))

    async def _gather(self, requests: Any) -> list[httpx2.Response]:
        limits = httpx2.Limits(max_connections=len(requests))
        async with httpx2.AsyncClient(trust_env=False, timeout=120, limits=limits) as client:
            return list(
                await asyncio.gather(
                    *(
                        client.post(
                            f"{self.service.base_url}/api/v1/generations",
                            json={"prompt": "race", "image_size": "1K"} | fields,
                            headers={"authorization": f"Bearer {key}"} | headers,
                        )
                        for key, fields, headers in requests
                    )
                )
            )

    def read(self, key: str, path: str) -> dict[str, Any]:
        """What a key sees there."""
        headers = {"authorization": f"Bearer {key}"}
        answer = httpx2.get(f"{self.service.base_url}/api/v1/{path}", headers=headers, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def bought(self, key: str) -> list[dict[str, Any]]:
        """A key's generations when all of them have ended."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            found = list(self.read(key, "generations?limit=100")["data"])
            if all(each["finished_at"] for each in found):
                return found
            time.sleep(0.1)
        raise AssertionError(f"not ended: {found}\n{self.service.log[-3000:]}")

    def balance(self, key: str) -> tuple[int, int]:
        found = self.read(key, "wallet")
        return found["available_micros"], found["held_micros"]


@contextmanager
def _database(name: str) -> Iterator[dict[str, str]]:
    """Where the service keeps its rows: a file of its own, or a database of its own."""
    url = os.environ.get("DATABASE_URL", "")
    if name == "SQLite":
        yield {}
        return
    if not url.startswith("postgres"):
        pytest.skip("SKIPPED LOUDLY: needs PostgreSQL; run make test-services")
    database = f"nbp_market_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{database}"')
    yield {"DATABASE_URL": urlsplit(url)._replace(path=f"/{database}").geturl()}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)')


@pytest.fixture(scope="module", params=["SQLite", pytest.param("PostgreSQL", marks=pytest.mark.services)])
def market(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """One service for all tests here; each of them takes people of its own. In the end its books are right."""
    with _database(request.param) as environment:
        environment |= {"NBP_PLAY_MONEY_MICROS": str(AFFORDABLE_COUNT * PRICE_MICROS)}
        service = Service(tmp_path_factory.mktemp("market"), environment).start()
        try:
            made = service.manage("shell", "--no-imports", "-c", NEW_PEOPLE.format(count=8))
            assert made.returncode == 0, made.stderr
            found = next(line for line in made.stdout.splitlines() if line.startswith("KEYS "))
            yield Market(service, json.loads(found.removeprefix("KEYS ")))
            service.audit()
        finally:
            service.kill()


def _codes(answers: list[httpx2.Response]) -> Counter[str]:
    """Statuses, with the error's code where there is one."""
    return Counter(
        f"{each.status_code} {each.json()['error']['code']}" if each.is_client_error else str(each.status_code)
        for each in answers
    )


def test_e1_a_hundred_at_once_with_money_for_seven(market: Market) -> None:
    key = market.somebody()
    answers = market.at_once(*[(key, {}, {})] * 100)
    assert _codes(answers) == {"202": 7, "402 insufficient_credit": 93}
    bought = market.bought(key)
    assert [each["status"] for each in bought] == ["succeeded"] * 7
    assert {each["id"] for each in bought} == {each.json()["id"] for each in answers if each.status_code == 202}
    assert market.balance(key) == (0, 0)


def test_e1_a_hundred_at_once_for_several_images_each(market: Market) -> None:
    """Money for seven: three times two fit, and what is left is too little for a fourth pair."""
    key = market.somebody()
    answers = market.at_once(*[(key, {"n": 2}, {})] * 100)
    assert _codes(answers) == {"202": 3, "402 insufficient_credit": 97}
    assert sum(each["n"] for each in market.bought(key)) == 6
    assert market.balance(key) == (PRICE_MICROS, 0)


def test_e2_one_idempotency_key_at_once_is_one_generation(market: Market) -> None:
    key = market.somebody()
    answers = market.at_once(*[(key, {}, {"idempotency-key": "order 1"})] * 50)
    assert {each.status_code for each in answers} <= {200, 202}
    assert len({each.json()["id"] for each in answers}) == 1
    assert sum("idempotent-replayed" not in each.headers for each in answers) == 1
    assert len(market.bought(key)) == 1
    assert market.balance(key) == ((AFFORDABLE_COUNT - 1) * PRICE_MICROS, 0)


def test_e3_one_idempotency_key_for_two_requests_at_once_is_one_of_them(market: Market) -> None:
    key = market.somebody()
    pair = [(key, {"prompt": text}, {"idempotency-key": "order 2"}) for text in ("a fox", "a hare")]
    answers = market.at_once(*pair * 25)
    assert _codes(answers)["422 idempotency_key_reused"] == 25
    assert {each.status_code for each in answers} <= {200, 202, 422}
    (won,) = market.bought(key)
    assert {each.json()["id"] for each in answers if each.is_success} == {won["id"]}
    assert {each.json()["prompt"] for each in answers if each.is_success} == {won["prompt"]}
    assert market.balance(key) == ((AFFORDABLE_COUNT - 1) * PRICE_MICROS, 0)


def test_e4_one_idempotency_key_of_two_accounts_is_two_generations(market: Market) -> None:
    keys = market.somebody(), market.somebody()
    pair = [(key, {"prompt": text}, {"idempotency-key": "order 3"}) for key, text in zip(keys, ("a", "b"), strict=True)]
    answers = market.at_once(*pair * 10)
    assert {each.status_code for each in answers} <= {200, 202}
    for key, text in zip(keys, ("a", "b"), strict=True):
        assert [each["prompt"] for each in market.bought(key)] == [text]
        assert market.balance(key) == ((AFFORDABLE_COUNT - 1) * PRICE_MICROS, 0)
    assert len({each.json()["id"] for each in answers}) == 2

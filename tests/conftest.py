"""The world of the tests: Alice (funded), Bob (empty wallets), and a worker that runs what was nudged."""

from __future__ import annotations

import itertools
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.db.models.functions import Now
from django.test import TransactionTestCase

from accounts import keys, registration
from accounts.authentication import Requester
from accounts.ledger import adjustments
from accounts.models import Account, ApiKey, User
from generation import audit, execution, tasks
from generation.admin import figures
from generation.channels.models import Channel
from generation.models import LIVE_STATES, Output

os.environ.pop("GEMINI_API_KEY", None)
os.environ.pop("GOOGLE_API_KEY", None)


def pytest_unconfigure() -> None:
    """The run's data folder goes with the run."""
    shutil.rmtree(os.environ["NBP_DATA_DIR"], ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left with one when the others have nothing to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def _guards_let_the_tests_flush() -> Iterator[None]:
    """Triggers forbid deleting money; a flush between tests must. The flush itself makes them again."""
    from accounts.ledger.triggers import GUARDS as LEDGER_GUARDS
    from accounts.payments.triggers import GUARDS as PAYMENTS_GUARDS
    from generation.triggers import GUARDS

    original = TransactionTestCase._fixture_teardown

    def teardown(self: TransactionTestCase) -> None:
        for connection in connections.all():
            PAYMENTS_GUARDS.drop(connection)
            LEDGER_GUARDS.drop(connection)
            GUARDS.drop(connection)
        original(self)

    TransactionTestCase._fixture_teardown = teardown  # type: ignore[method-assign]
    yield
    TransactionTestCase._fixture_teardown = original  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _own_folders(settings: Any, tmp_path: Any) -> None:
    """Every test has its own media and spool, and backs off in milliseconds instead of seconds."""
    settings.STORAGES = django_settings.STORAGES | {
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "media")},
        }
    }
    settings.NBP_SPOOL_DIR = tmp_path / "spool"
    settings.NBP_RETRY_BASE_SECONDS = 0.001
    # Tests change rows by UPDATE, of which nobody is told.
    settings.NBP_CATALOGUE_SECONDS = 0
    figures._past.clear()
    settings.NBP_REQUESTS_PER_MINUTE = 100_000
    settings.NBP_REFUSED_KEYS_PER_MINUTE = 100_000
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@dataclass
class Queue:
    """Nudges that were sent, instead of a broker. `run` works them off, and what they lead to."""

    sent: list[uuid.UUID] = field(default_factory=list)

    def run(self, *, limit: int = 200) -> int:
        """Run nudged outputs until none is left; answers how many runs there were."""
        count = 0
        while self.sent and count < limit:
            tasks.nudge(execution.run(self.sent.pop(0)))
            count += 1
        return count

    def run_to_the_end(self, *, limit: int = 300) -> None:
        """Like a worker with a sweeper and all the time in the world: until no output is unfinished."""
        for _ in range(limit):
            self.run()
            if not Output.objects.filter(state__in=LIVE_STATES).exists():
                return
            Channel.objects.update(cool_until=None, model_health={})
            Output.objects.filter(state="queued").update(nudged_at=None, next_run_at=Now())
            tasks.sweep()
        raise AssertionError("outputs are still unfinished")


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Stands where the broker is: nudges are kept in a list and run when the test says so."""
    found = Queue()

    def keep(*, kwargs: dict[str, str], **_: object) -> None:
        found.sent.append(uuid.UUID(kwargs["output_id"]))

    monkeypatch.setattr(tasks.run_output, "apply_async", keep)
    return found


@dataclass
class Person:
    """A user with an account, and a key of each mode."""

    user: User
    account: Account
    keys: dict[str, keys.IssuedKey]

    def requester(self, mode: str = "test") -> Requester:
        return Requester(account=self.account, mode=mode, api_key=self.keys[mode].api_key)

    def headers(self, mode: str = "test", **more: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[mode].raw}"} | more


_numbers = itertools.count(1)


@pytest.fixture
def make_person(db: None) -> Callable[..., Person]:
    """Make a person: `live_micros` and `test_micros` are what their wallets start with."""

    def make(name: str = "person", *, live_micros: int = 0, test_micros: int = 0) -> Person:
        now = datetime.now(UTC)
        user = User.objects.create_user(f"{name}{next(_numbers)}@example.com", "correct horse battery")
        django_settings.NBP_PLAY_MONEY_MICROS, before = 0, django_settings.NBP_PLAY_MONEY_MICROS
        account = registration.open_account(name=name, owner=user, now=now)
        django_settings.NBP_PLAY_MONEY_MICROS = before
        for mode, micros in (("live", live_micros), ("test", test_micros)):
            if micros:
                adjustments.grant(
                    account=account, mode=mode, amount_micros=micros, actor="test", reason="a start", now=now
                )
        issued = {mode: keys.issue(account=account, mode=mode, name=f"{name} {mode}") for mode in ("live", "test")}
        return Person(user, account, issued)

    return make


@pytest.fixture
def alice(make_person: Callable[..., Person]) -> Person:
    """Funded: $10 live, $100 of play money."""
    return make_person("alice", live_micros=10_000_000, test_micros=100_000_000)


@pytest.fixture
def bob(make_person: Callable[..., Person]) -> Person:
    """Without a cent."""
    return make_person("bob")


@pytest.fixture
def audited(transactional_db: None) -> Iterator[None]:
    """After the test, every invariant of the ledger and the road holds."""
    yield
    assert [str(each) for each in audit.violations()] == []


def limited(person: Person, mode: str = "test", **limits: Any) -> ApiKey:
    """Give a person's key other limits."""
    ApiKey.objects.filter(pk=person.keys[mode].api_key.pk).update(**limits)
    person.keys[mode].api_key.refresh_from_db()
    return person.keys[mode].api_key

"""Who may knock where: every route asks who comes, nobody sees what is another's, links and browsers are no way around."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from accounts import keys
from accounts.ledger.models import Wallet
from accounts.models import ApiKey
from accounts.payments.models import Payment
from generation import media
from generation.channels.models import Channel
from generation.models import Generation, Media
from tests.faults.doors import ask, code_of, signed_in, switched
from tests.faults.routes import Route, routes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

# Routes that ask nobody for a name. The last ones carry their own credential: a signature, a code, a page of Stripe's.
PUBLIC = {
    "",
    "favicon.ico",
    "api/v1/schema",
    "api/v1/docs",
    "api/v1/docs/errors",
    "accounts/login/",
    "accounts/signup/",
    "accounts/inactive/",
    "accounts/password/reset/",
    "accounts/password/reset/done/",
    "accounts/password/reset/key/done/",
    "dev/mail/",
    "admin/login/",
}
CREDENTIAL_IN_PATH = {
    "m/<str:output_id>",
    "invite/<str:code>/",
    "webhooks/stripe",
    "dev/stripe/c/pay/<str:session_id>",
    "dev/stripe/p/session/<str:session_id>",
    "dev/stripe/r/<str:object_id>",
    "accounts/^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
EXISTS_NOWHERE = {"generation_id": "gen_" + "0" * 26, "output_id": "out_" + "0" * 26, "key_id": "key_" + "0" * 26}
EXISTS_NOWHERE["payment_id"] = "pay_" + "0" * 26


@pytest.fixture
def world(alice: Any, queue: Any) -> dict[str, str]:
    """What Alice has in test mode, by the names that routes give to parameters."""
    body = {"prompt": "a kite", "search_grounding": True, "image_size": "1K"}
    made = ask(alice, "POST", "generations", body).json()
    queue.run()
    spare = keys.issue(account=alice.account, mode="test", name="a spare one").api_key
    Channel.objects.create(name="her own key", account=alice.account, kind="gemini", mode="live")
    return {
        "kind": "gemini",
        "generation_id": made["id"],
        "output_id": made["outputs"][0]["id"],
        "key_id": spare.public_id,
        "payment_id": _payment(alice).public_id,
        "action": "disable",
    }


def _payment(person: Any) -> Payment:
    """A payment that came to nothing."""
    now = datetime.now(UTC)
    return Payment.objects.create(
        wallet=Wallet.objects.get(account=person.account, mode="test"),
        kind="checkout",
        state="expired",
        livemode=False,
        amount_cents=500,
        credit_micros=5_000_000,
        stripe_customer_id="cus_1",
        created_at=now,
        expires_at=now,
    )


def _is_refused(answer: Any) -> bool:
    """Sent away with a status, or to the login."""
    if answer.status_code in (301, 302):
        return bool(re.match(r"/(accounts|admin)/login/|/accounts/reauthenticate/", answer["Location"]))
    return answer.status_code in (401, 403, 404, 405)


def _filled(route: Route, world: dict[str, str]) -> str:
    """Parameters of other people's software (the admin's, the login's) get a value that names nothing."""
    known = world if route.kind == "api" or not {*route.parameters} - {*world} else {}
    return route.path(known | dict.fromkeys({*route.parameters} - {*known}, "1"))


def test_h3_every_route_that_is_not_declared_public_refuses_strangers(world: dict[str, str], bob: Any) -> None:
    stranger, other = Client(), signed_in(bob.user)
    found = routes()
    assert {each.pattern for each in found} >= PUBLIC | CREDENTIAL_IN_PATH, "a route that is gone is still declared"
    open_doors = [
        (visitor, method, path)
        for route in found
        if route.pattern not in PUBLIC | CREDENTIAL_IN_PATH
        for path in [_filled(route, world)]
        for method in METHODS
        for visitor, browser in (("nobody", stranger), ("a customer", other))
        # A customer's own pages are open to a customer; what is Alice's on them is the next test's.
        if visitor == "nobody" or route.kind != "site"
        if not _is_refused(browser.generic(method, path)) and path not in ("/accounts/logout/", "/admin/logout/")
    ]
    assert open_doors == []


def _seen(answer: Any) -> tuple[int, str]:
    """What somebody learns from an answer: nothing that differs between two requests as such."""
    text = answer.content.decode()
    # Ids of requests and rows, and the 64 characters of a form's token.
    return answer.status_code, re.sub(r"\b((req|gen|out|key|pay)_)?\w{26,64}\b", "", text)


def _object_routes() -> list[Route]:
    """Routes whose path names a row of somebody's."""
    outside = {"accounts/", "admin/"}
    found = [
        each
        for each in routes()
        if each.parameters and each.pattern not in CREDENTIAL_IN_PATH and each.parameters != ("path",)
        if not each.pattern.startswith(tuple(outside))
    ]
    assert len(found) > 10
    return found


def test_h3_another_accounts_object_is_answered_like_one_that_does_not_exist_on_every_route(
    world: dict[str, str], alice: Any, bob: Any
) -> None:
    sessions = {
        "bob": signed_in(bob.user),
        "bob, live": switched(signed_in(bob.user), "live"),
        "alice, live": switched(signed_in(alice.user), "live"),
    }
    faults: list[Any] = []
    for route in _object_routes():
        unknown = {*route.parameters} - {*world}
        assert not unknown, f"{route.pattern}: say in `world` what Alice has as {unknown}"
        theirs, nowhere = route.path(world), route.path(world | EXISTS_NOWHERE)
        for method in METHODS:
            asks = {
                who: lambda path, one=person, mode=mode, method=method: Client().generic(
                    method, path, b"{}", content_type="application/json", headers=one.headers(mode)
                )
                for who, person, mode in (
                    ("bob", bob, "test"),
                    ("bob, live", bob, "live"),
                    ("alice, live", alice, "live"),
                )
            }
            if route.kind == "site":
                # Keys, payments and own provider keys are of both modes, and their pages show both.
                own = {"alice, live"} if {"key_id", "payment_id", "kind"} & {*route.parameters} else set()
                asks = {
                    who: lambda path, one=browser, method=method: one.generic(method, path)
                    for who, browser in sessions.items()
                    if who not in own
                }
            for who, as_somebody in asks.items():
                seen, expected = _seen(as_somebody(theirs)), _seen(as_somebody(nowhere))
                is_other_mode = who == "alice, live" and route.kind == "site"
                if seen[0] not in (404, 405) or (seen != expected and not is_other_mode):
                    faults.append((method, theirs, who, seen[0], expected[0]))
    assert faults == []
    assert Generation.objects.get().status == "succeeded"
    assert not ApiKey.objects.exclude(disabled_at=None, revoked_at=None).exists()


def test_h3_alice_herself_reaches_every_one_of_those_objects(world: dict[str, str], alice: Any) -> None:
    browser = signed_in(alice.user)
    for route in _object_routes():
        answers = []
        for method in ("GET", "POST"):
            headers = alice.headers() if route.kind == "api" else {}
            answers.append(browser.generic(method, route.path(world), headers=headers).status_code)
        assert set(answers) & {200, 202, 302}, (route.pattern, answers)


def test_h3_lists_hold_only_the_keys_own_account_and_mode(world: dict[str, str], alice: Any, bob: Any) -> None:
    for person, mode in ((bob, "test"), (bob, "live"), (alice, "live")):
        for path in ("generations", "ledger", "usage"):
            rows = ask(person, "GET", path, mode=mode).json()["data"]
            assert [each for each in rows if each.get("kind") not in ("grant", None)] == []
            assert world["generation_id"] not in str(rows)
    assert [each["id"] for each in ask(alice, "GET", "generations").json()["data"]] == [world["generation_id"]]


def test_h4_a_link_that_was_guessed_changed_or_is_over_shows_nothing(
    world: dict[str, str], alice: Any, queue: Any, settings: Any, time_machine: Any
) -> None:
    output = world["output_id"]
    query = media.signed_query(output)
    expires, signature = re.fullmatch(r"expires=(\d+)&signature=(\w+)", query).groups()
    other = ask(alice, "POST", "generations", {"prompt": "another", "image_size": "1K"}).json()["outputs"][0]["id"]
    queue.run()
    stranger = signed_in(alice.user)
    assert stranger.get(f"/m/{output}?{query}").status_code == 200
    flipped = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    for path in (
        f"{output}",
        f"{output}?expires={expires}",
        f"{output}?expires={int(expires) + 60}&signature={signature}",
        f"{output}?expires={expires}&signature={flipped}",
        f"{output}?expires={expires}&signature=",
        f"{output}?expires=&signature={signature}",
        f"{output}?expires={expires}x&signature={signature}",
        f"{output}?expires=-1&signature={signature}",
        f"{output}?expires=99999999999999999999&signature={signature}",
        f"{output}?expires=\u0661\u0662&signature=\u00e9",
        f"{other}?{query}",
        f"{output}%00?{query}",
        f"nothing?{query}",
    ):
        answer = stranger.get(f"/m/{path}")
        assert answer.status_code == 403, path
        assert code_of(answer) == (403, "link_expired"), path
        assert alice.account.name not in answer.content.decode()
    assert int(expires) <= time.time() + 2 * settings.NBP_LINK_SECONDS
    time_machine.move_to(int(expires) + 1)
    assert code_of(stranger.get(f"/m/{output}?{query}")) == (403, "link_expired")


def test_h4_a_link_to_an_image_that_is_gone_says_so_and_shows_nothing(
    world: dict[str, str], alice: Any, queue: Any
) -> None:
    output = world["output_id"]
    query = media.signed_query(output)
    row = Media.objects.get()
    kept = media.read(row.storage_name)
    media.remove(row.storage_name)
    assert code_of(Client().get(f"/m/{output}?{query}")) == (410, "image_gone")
    assert code_of(ask(alice, "GET", f"outputs/{output}/content")) == (410, "image_gone")
    unfinished = ask(alice, "POST", "generations", {"prompt": "not yet made"}).json()["outputs"][0]["id"]
    assert code_of(Client().get(f"/m/{unfinished}?{media.signed_query(unfinished)}")) == (404, "output_not_found")
    # Before the audit looks.
    media.store(row.storage_name, kept)


def test_h5_a_session_cookie_is_no_key_on_any_api_route(world: dict[str, str], alice: Any) -> None:
    browser = signed_in(alice.user)
    before = Generation.objects.count()
    for route in routes():
        if route.kind == "api" and route.pattern not in PUBLIC and route.parameters != ("path",):
            for method in ("GET", "POST"):
                answer = browser.generic(method, route.path(world), b'{"prompt": "x"}', content_type="application/json")
                assert code_of(answer) == (401, "api_key_missing"), (method, route.pattern)
    assert Generation.objects.count() == before


def test_h5_no_form_of_the_site_is_taken_without_its_token(world: dict[str, str], alice: Any) -> None:
    browser = signed_in(alice.user, enforce_csrf_checks=True)
    tried = []
    for route in routes():
        if route.kind == "api" or route.pattern in CREDENTIAL_IN_PATH or route.pattern.startswith("favicon"):
            continue
        path = _filled(route, world)
        answer = browser.post(path, {"prompt": "x", "mode": "live", "name": "x"})
        # A page that takes no forms says so; one that sends on to the login or the admin has taken nothing.
        assert answer.status_code in (403, 404, 405) or _is_refused(answer), (path, answer.status_code)
        tried.append(answer.status_code)
    assert tried.count(403) > 15
    assert (Generation.objects.count(), ApiKey.objects.filter(account=alice.account).count()) == (1, 3)


ORIGIN = "https://evil.example"


def test_h6_no_route_lets_a_foreign_page_read_an_answer(world: dict[str, str], alice: Any) -> None:
    browser = signed_in(alice.user)
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST"}
    for route in routes():
        path = _filled(route, world)
        headers = {"origin": ORIGIN} | (alice.headers() if route.kind == "api" else {})
        for answer in (browser.get(path, headers=headers), browser.options(path, headers=preflight)):
            told = {name.lower() for name in answer.headers if name.lower().startswith("access-control-")}
            assert told == set(), path

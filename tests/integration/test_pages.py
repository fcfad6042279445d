"""The site's pages, asked over HTTP: what they show, what they refuse, and whose things they never show."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, RequestFactory
from PIL import Image

from accounts.ledger import queries as ledger_queries
from accounts.models import Account, ApiKey, Invitation, User
from accounts.templatetags.money import signed_usd, usd
from generation import queries
from generation.channels.models import Channel
from generation.models import Generation, Output
from nbp_site import error_pages

FORM = {"prompt": "A nano banana", "model": "gemini-3-pro-image", "image_size": "1K", "n": "1", "key": "one"}
HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/playground/"}


def client_of(person: Any) -> Client:
    client = Client()
    client.force_login(person.user)
    return client


@pytest.fixture
def visitor(alice: Any) -> Client:
    return client_of(alice)


@pytest.fixture
def road(transactional_db: None, queue: Any) -> Any:
    """The queue, in a test whose transactions are real: accepting a request refuses to run inside another one."""
    return queue


def html_of(response: Any) -> str:
    """The page, after a look that nothing in it needs more than the content policy gives."""
    html: str = response.content.decode()
    policy = response["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    for tag in re.findall(r"<script[^>]*>", html):
        assert "src=" in tag or 'type="application/json"' in tag, tag
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html), "an inline script or style"
    assert html.count("<h1") == 1
    assert '<html lang="en">' in html
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", html.replace("https://example.com", "")), "a stranger"
    return html


# --- looking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/api/v1/docs/errors", "/dev/mail/"],
)
def test_anybody_may_look(db: None, path: str) -> None:
    response = Client().get(path)
    assert response.status_code == 200
    html_of(response)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/playground/",
        "/images/",
        "/wallet/",
        "/keys/",
        "/accounts/email/",
        "/accounts/password/change/",
        "/accounts/2fa/",
        "/accounts/logout/",
    ],
)
def test_a_customer_may_look(visitor: Client, path: str) -> None:
    response = visitor.get(path)
    assert response.status_code == 200
    assert "$100.00" in html_of(response)


@pytest.mark.parametrize("path", ["/playground/", "/images/", "/wallet/", "/keys/", "/generations/gen_1/"])
def test_strangers_are_sent_to_the_login(db: None, path: str) -> None:
    response = Client().get(path)
    assert response.status_code == 302
    assert response["Location"] == f"/accounts/login/?next={path}"


def test_a_fragment_sends_the_whole_page_to_the_login(db: None) -> None:
    response = Client().post("/playground/quote/", FORM, headers=HTMX)
    assert response.status_code == 200
    assert response["HX-Redirect"] == "/accounts/login/?next=/playground/"


def test_landing_tells_the_prices_and_that_it_is_only_a_test(db: None) -> None:
    html = html_of(Client().get("/"))
    assert "This site is in test mode." in html
    for text in ("Nano Banana Pro", "$0.1474", "$0.2640", "/accounts/signup/", "/api/v1/docs"):
        assert text in html


def test_a_live_channel_ends_the_test_mode(visitor: Client) -> None:
    assert not queries.live_is_open()
    channel = Channel(name="gemini", kind="gemini", mode="live")
    channel.set_secret("a key")
    channel.save()
    assert queries.live_is_open()
    assert "This site is in test mode." not in html_of(Client().get("/"))
    assert "Live wallet" in html_of(visitor.get("/wallet/"))
    channel.disabled_reason = "401"
    channel.save()
    assert not queries.live_is_open()
    assert "Test wallet" in html_of(visitor.get("/wallet/"))


def test_staff_without_an_account_is_shown_the_way(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("boss@example.com", "secret"))
    response = client.get("/playground/")
    assert response.status_code == 403
    html = html_of(response)
    assert "no account" in html
    assert "/admin/" in html


def test_the_fault_page_needs_nothing() -> None:
    """Neither a database nor a session: this test has no database."""
    response = error_pages.fault(RequestFactory().get("/playground/"))
    assert response.status_code == 500
    assert b"Nothing was charged" in response.content


def test_an_unknown_address(visitor: Client) -> None:
    response = visitor.get("/nowhere/")
    assert response.status_code == 404
    assert "nothing here" in html_of(response)


def test_every_error_code_has_its_place(db: None) -> None:
    html = html_of(Client().get("/api/v1/docs/errors"))
    assert '<tr id="insufficient_credit">' in html
    assert "no_channel_configured" in html


# --- making -------------------------------------------------------------------------------------------------------


def test_from_the_form_to_the_receipt(alice: Any, queue: Any, audited: None) -> None:
    visitor = client_of(alice)
    answer = visitor.post("/playground/", FORM)
    assert answer.status_code == 302
    path = answer["Location"]
    html = html_of(visitor.get(path))
    assert 'hx-trigger="every 1s"' in html
    assert "Cancel" in html
    digest = re.search(r"\?seen=(\w+)", html)
    assert digest
    progress = f"{path}progress/"
    assert visitor.get(progress, {"seen": digest[1]}).status_code == 204

    queue.run()
    fresh = visitor.get(progress, {"seen": digest[1]})
    assert fresh.status_code == 200
    assert b"every 1s" not in fresh.content
    html = html_of(visitor.get(path))
    assert "hx-trigger" not in html
    assert 'alt="A nano banana"' in html
    link = re.search(r'<img src="(/m/out_[^"]+)"', html)
    assert link
    entry = ledger_queries.statement(alice.account.pk, "test").first()
    assert entry is not None
    assert entry.kind == "capture"
    assert f'/wallet/#{entry.public_id}"' in html
    assert "$0.1474" in html
    assert "<td>sandbox</td><td>ok</td>" in html

    statement = html_of(visitor.get("/wallet/"))
    assert f'id="{entry.public_id}"' in statement
    assert "$99.8526" in statement
    output = Output.objects.get()
    assert output.public_id in statement
    assert visitor.get(f"/images/{output.public_id}/")["Location"] == f"{path}#{output.public_id}"
    assert "A nano banana" in html_of(visitor.get("/images/"))


def test_two_clicks_are_one_image_and_a_changed_form_is_another(alice: Any, visitor: Client, road: Any) -> None:
    first = visitor.post("/playground/", FORM)
    again = visitor.post("/playground/", FORM)
    assert first["Location"] == again["Location"]
    changed = visitor.post("/playground/", FORM | {"prompt": "Another banana"})
    assert changed.status_code == 302
    assert changed["Location"] != first["Location"]
    assert Generation.objects.count() == 2


def test_a_fragment_is_sent_on(visitor: Client, road: Any) -> None:
    answer = visitor.post("/playground/", FORM, headers=HTMX)
    assert answer["HX-Redirect"] == f"/generations/{Generation.objects.get().public_id}/"


def test_the_first_use_has_a_prompt_and_the_second_has_not(visitor: Client, road: Any) -> None:
    assert "marble kitchen table" in html_of(visitor.get("/playground/"))
    visitor.post("/playground/", FORM)
    assert "marble kitchen table" not in html_of(visitor.get("/playground/"))


def _refused(client: Client, form: dict[str, Any], *, wanted: str) -> str:
    before = Generation.objects.count()
    response = client.post("/playground/", form)
    assert response.status_code == 422
    html = html_of(response)
    assert wanted in html
    assert Generation.objects.count() == before
    return html


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        ({"prompt": "  "}, "prompt-error", "The prompt is empty."),
        ({"prompt": "x" * 60_001}, "prompt-error", "at most 60,000"),
        ({"n": "11"}, "n-error", "between 1 and 10"),
        ({"n": "many"}, "n-error", "Enter a whole number."),
        ({"model": "nobody"}, "model-error", "There is no image model"),
        ({"image_size": "9K"}, "image_size-error", "makes 1K, 2K, 4K"),
        ({"aspect_ratio": "7:1"}, "aspect_ratio-error", "makes 1:1"),
    ],
)
def test_a_refusal_stands_at_its_field(visitor: Client, change: dict[str, str], place: str, words: str) -> None:
    html = _refused(visitor, FORM | change, wanted=words)
    error = re.search(rf'id="{place}"[^>]*>([^<]*)', html)
    assert error
    assert words in error[1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not a picture", "not a complete PNG, JPEG or WebP"),
        (b"", "is empty"),
    ],
)
def test_a_bad_reference_is_refused_at_its_field(visitor: Client, road: Any, data: bytes, words: str) -> None:
    upload = SimpleUploadedFile("cat.png", data, "image/png")
    html = _refused(visitor, FORM | {"references": upload}, wanted=words)
    assert "references-error" in html


def test_a_reference_that_is_too_large(visitor: Client) -> None:
    upload = SimpleUploadedFile("cat.png", b"\0" * (20 * 1024 * 1024 + 1), "image/png")
    _refused(visitor, FORM | {"references": upload}, wanted="larger than 20 MB")


def _picture() -> bytes:
    buffer = BytesIO()
    Image.radial_gradient("L").save(buffer, "PNG")
    return buffer.getvalue()


def test_references_come_with_their_roles(alice: Any, road: Any) -> None:
    visitor = client_of(alice)
    files = [SimpleUploadedFile(f"{name}.png", _picture(), "image/png") for name in "abc"]
    answer = visitor.post("/playground/", FORM | {"references": files, "role": ["subject", "style", "object"]})
    assert answer.status_code == 302
    found = Generation.objects.get().references.order_by("index")
    assert [(each.name, each.role) for each in found] == [("a.png", "subject"), ("b.png", "style"), ("c.png", "object")]


def test_no_money(bob: Any, road: Any) -> None:
    _refused(client_of(bob), FORM, wanted="does not cover this request")


def test_no_channel_says_how_to_mend_it(visitor: Client) -> None:
    visitor.post("/mode/", {"mode": "live"})
    _refused(visitor, FORM, wanted="set GEMINI_API_KEY")


def test_too_many_requests(visitor: Client, settings: Any) -> None:
    settings.NBP_REQUESTS_PER_MINUTE = 2
    for _ in range(2):
        _refused(visitor, FORM | {"prompt": ""}, wanted="The prompt is empty.")
    _refused(visitor, FORM, wanted="More than 2 requests a minute")


def test_a_suspended_account_is_told_so(alice: Any, visitor: Client) -> None:
    Account.objects.filter(pk=alice.account.pk).update(status="suspended")
    assert "This account is suspended." in html_of(visitor.get("/wallet/"))
    _refused(visitor, FORM, wanted="This account is suspended. Ask the operator")
    before = ApiKey.objects.count()
    assert visitor.post("/keys/", {"name": "x", "mode": "test", "ticket": "t"}).status_code == 422
    assert ApiKey.objects.count() == before


@pytest.mark.parametrize(
    ("change", "price"),
    [
        ({}, "$0.1474"),
        ({"image_size": "4K"}, "$0.2640"),
        ({"n": "3"}, "$0.4422"),
        ({"prompt": ""}, "$0.1474"),
        ({"role": ["object", "style"]}, "$0.14982"),
        ({"search_grounding": "on"}, "$0.1628"),
        ({"model": "gemini-2.5-flash-image", "image_size": "1K"}, "$0.0429"),
    ],
)
def test_the_price_follows_the_form(visitor: Client, change: dict[str, Any], price: str) -> None:
    response = visitor.post("/playground/quote/", FORM | change, headers=HTMX)
    html = response.content.decode()
    assert f'<strong id="price">{price}</strong>' in html
    shown = re.search(r'name="shown" value="([^"]*)"', html)
    assert shown
    assert visitor.post("/playground/quote/", FORM | change | {"shown": shown[1]}, headers=HTMX).status_code == 204


def test_another_model_offers_what_it_can(visitor: Client) -> None:
    form = FORM | {"model": "gemini-2.5-flash-image", "image_size": "4K", "prompt": "Keep me"}
    html = visitor.post("/playground/options/", form, headers=HTMX).content.decode()
    assert "Keep me" in html
    assert 'value="4K"' not in html
    assert 'name="image_size" value="1K" checked' in html
    assert 'name="search_grounding"' not in html


def test_cancel(alice: Any, visitor: Client, road: Any) -> None:
    path = visitor.post("/playground/", FORM)["Location"]
    assert visitor.post(f"{path}cancel/")["Location"] == path
    html = html_of(visitor.get(path))
    assert "Canceled" in html
    assert "Not charged." in html
    assert "$100.00" in html


def test_a_failure_is_calm_and_free(alice: Any, queue: Any, audited: None) -> None:
    visitor = client_of(alice)
    path = visitor.post("/playground/", FORM | {"prompt": "sandbox:refuse"})["Location"]
    queue.run()
    html = html_of(visitor.get(path))
    assert "Not charged." in html
    assert "/api/v1/docs/errors#content_refused" in html
    assert "not charged" in html_of(visitor.get("/images/"))


def test_grounding_shows_sources_and_suggestions_in_a_cage(alice: Any, bob: Any, queue: Any, audited: None) -> None:
    visitor = client_of(alice)
    path = visitor.post("/playground/", FORM | {"search_grounding": "on"})["Location"]
    queue.run()
    html = html_of(visitor.get(path))
    assert "https://example.com/sandbox" in html
    frame = re.search(r'<iframe[^>]* src="([^"]+)"', html)
    assert frame
    cage = visitor.get(frame[1])
    assert cage.status_code == 200
    assert b"sandbox-search" in cage.content
    assert cage["Content-Security-Policy"].startswith("sandbox allow-popups")
    assert "script-src" not in cage["Content-Security-Policy"]
    assert "default-src 'none'" in cage["Content-Security-Policy"]
    assert cage["X-Frame-Options"] == "SAMEORIGIN"
    assert client_of(bob).get(frame[1]).status_code == 404


def test_editing_and_repeating(alice: Any, queue: Any, audited: None) -> None:
    visitor = client_of(alice)
    path = visitor.post("/playground/", FORM)["Location"]
    queue.run()
    output = Output.objects.get().public_id
    html = html_of(visitor.get("/playground/", {"previous": output}))
    assert "What should change?" in html
    assert f'name="previous" value="{output}"' in html
    assert "$0.14861" in html
    edited = visitor.post("/playground/", FORM | {"previous": output, "prompt": "At night"})
    queue.run()
    row = Generation.objects.get(prompt="At night")
    assert edited["Location"] == f"/generations/{row.public_id}/"
    assert row.previous_output is not None
    assert row.previous_output.public_id == output
    again = html_of(visitor.get("/playground/", {"again": path.split("/")[2]}))
    assert ">\nA nano banana</textarea>" in again


# --- whose --------------------------------------------------------------------------------------------------------


def test_nobody_sees_what_is_not_theirs(
    alice: Any, make_person: Callable[..., Any], visitor: Client, road: Any
) -> None:
    path = visitor.post("/playground/", FORM)["Location"]
    generation_id = Generation.objects.get().public_id
    output_id = Output.objects.get().public_id
    stranger = client_of(make_person("eve", test_micros=1_000_000))
    for address in (path, f"{path}progress/", f"/images/{output_id}/", f"/playground/?previous={output_id}"):
        assert stranger.get(address).status_code == 404, address
    assert stranger.get("/playground/", {"again": generation_id}).status_code == 404
    assert stranger.post(f"{path}cancel/").status_code == 404
    assert "A nano banana" not in html_of(stranger.get("/images/")).replace("A nano banana on a marble", "")
    _refused(stranger, FORM | {"previous": output_id}, wanted="no finished output of yours")
    assert Generation.objects.get().status == "queued"


def test_modes_are_two_worlds(visitor: Client, road: Any) -> None:
    path = visitor.post("/playground/", FORM)["Location"]
    answer = visitor.post("/mode/", {"mode": "live", "next": "/images/"})
    assert answer["Location"] == "/images/"
    assert "No images in live mode yet." in html_of(visitor.get("/images/"))
    assert "$10.00" in html_of(visitor.get("/wallet/"))
    other = visitor.get(path)
    assert other.status_code == 404
    assert "Switch to test mode" in html_of(other)
    assert visitor.get(f"{path}progress/").status_code == 404
    assert visitor.post("/mode/", {"mode": "test", "next": path})["Location"] == path
    assert visitor.get(path).status_code == 200


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", ""])
def test_the_switch_leads_nowhere_else(visitor: Client, address: str) -> None:
    assert visitor.post("/mode/", {"mode": "test", "next": address})["Location"] == "/playground/"


@pytest.mark.parametrize("path", ["/wallet/?cursor=x", "/images/?cursor=x"])
def test_a_garbled_cursor_is_no_fault(visitor: Client, path: str) -> None:
    assert visitor.get(path).status_code == 404


def test_older_pages(visitor: Client, road: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.pages.generations._PAGE", 2)
    monkeypatch.setattr("generation.pages.wallet._PAGE", 2)
    for number in range(3):
        visitor.post("/playground/", FORM | {"prompt": f"number {number}"})
    for path, newest, oldest in (("/images/", "number 2", "number 0"), ("/wallet/", "Held for", "a start")):
        first = html_of(visitor.get(path))
        assert newest in first
        assert oldest not in first
        older = re.search(r'rel="next" href="([^"]+)"', first)
        assert older
        assert oldest in html_of(visitor.get(path + older[1]))


# --- keys ---------------------------------------------------------------------------------------------------------

KEY = {"name": "laptop", "mode": "test", "budget": "2.5", "budget_period": "daily"}


def _ticket(client: Client, name: str = "") -> str:
    found = re.findall(r'name="ticket" value="([^"]+)"', html_of(client.get("/keys/")))
    return next(each for each in found if each.endswith(name))


def _raw_key(html: str) -> str:
    found = re.search(r'<pre id="raw-key"[^>]*>(nbp_[^<]+)</pre>', html)
    assert found
    return found[1]


def test_a_key_is_shown_once_and_works(visitor: Client, client: Client) -> None:
    ticket = _ticket(visitor)
    response = visitor.post("/keys/", KEY | {"ticket": ticket})
    html = html_of(response)
    raw = _raw_key(html)
    assert html.count(raw) == 2
    assert "no-store" in response["Cache-Control"]
    assert 'name="next" value="/keys/"' in html
    row = ApiKey.objects.get(name="laptop")
    assert (row.budget_micros, row.budget_period, row.mode) == (2_500_000, "daily", "test")
    secret = raw.removeprefix(row.prefix)
    for path in ("/keys/", "/wallet/", "/"):
        assert secret not in html_of(visitor.get(path))
    assert "$0.00 spent of $2.50 today" in html_of(visitor.get("/keys/"))
    assert client.get("/api/v1/wallet", headers={"authorization": f"Bearer {raw}"}).status_code == 200

    again = visitor.post("/keys/", KEY | {"ticket": ticket}, follow=True)
    assert "That form was sent before." in html_of(again)
    assert ApiKey.objects.filter(name="laptop").count() == 1


def test_more_limits(visitor: Client) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    limits = {
        "expires_on": tomorrow.isoformat(),
        "requests_per_minute": "7",
        "concurrency": "3",
        "max_image_size": "2K",
        "allowed_models": ["gemini-3-pro-image", "gemini-2.5-flash-image"],
        "ip_list": "203.0.113.7\n2001:db8::/32",
        "budget": "",
    }
    assert visitor.post("/keys/", KEY | limits | {"ticket": _ticket(visitor)}).status_code == 200
    row = ApiKey.objects.get(name="laptop")
    assert row.budget_micros is None
    assert row.expires_at == datetime.combine(tomorrow + timedelta(days=1), datetime.min.time(), UTC)
    assert (row.requests_per_minute, row.concurrency, row.max_image_size) == (7, 3, "2K")
    assert row.allowed_models == ["gemini-3-pro-image", "gemini-2.5-flash-image"]
    assert row.ip_list == ["203.0.113.7", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "This field is required."),
        ({"mode": "both"}, "Select a valid choice."),
        ({"budget": "-1"}, "greater than or equal to 0"),
        ({"budget": "NaN"}, "Enter a number."),
        ({"budget": "0.0000001"}, "no more than 6 decimal places"),
        ({"expires_on": "2020-01-01"}, "That day is over."),
        ({"ip_list": "the office"}, "is not an address or a network"),
        ({"requests_per_minute": "0"}, "greater than or equal to 1"),
    ],
)
def test_a_key_that_cannot_be(visitor: Client, change: dict[str, str], words: str) -> None:
    before = ApiKey.objects.count()
    response = visitor.post("/keys/", KEY | change | {"ticket": "t"})
    assert response.status_code == 422
    assert words in html_of(response)
    assert ApiKey.objects.count() == before


def test_rotate_disable_enable_revoke(alice: Any, visitor: Client, client: Client) -> None:
    old = alice.keys["test"]
    path = f"/keys/{old.api_key.public_id}/"

    def status(raw: str) -> int:
        return client.get("/api/v1/wallet", headers={"authorization": f"Bearer {raw}"}).status_code

    ticket = _ticket(visitor, old.api_key.key_id)
    raw = _raw_key(html_of(visitor.post(f"{path}rotate/", {"ticket": ticket})))
    assert raw != old.raw
    assert (status(raw), status(old.raw)) == (200, 200)
    old.api_key.refresh_from_db()
    assert timedelta(hours=23) < old.api_key.expires_at - datetime.now(UTC) <= timedelta(hours=24)
    html = html_of(visitor.get("/keys/"))
    assert "replaced" in html
    assert raw not in html
    count = ApiKey.objects.count()
    visitor.post(f"{path}rotate/", {"ticket": ticket})
    assert ApiKey.objects.count() == count

    visitor.post(f"{path}disable/")
    assert status(old.raw) == 401
    visitor.post(f"{path}enable/")
    assert status(old.raw) == 200
    visitor.post(f"{path}revoke/")
    assert status(old.raw) == 401
    visitor.post(f"{path}enable/")
    assert status(old.raw) == 401
    assert visitor.get(f"{path}revoke/").status_code == 405


def test_another_accounts_key_is_not_there(alice: Any, bob: Any) -> None:
    stranger = client_of(bob)
    key = alice.keys["test"].api_key
    for action in ("disable", "enable", "revoke", "rotate"):
        assert stranger.post(f"/keys/{key.public_id}/{action}/", {"ticket": "t"}).status_code == 404
    key.refresh_from_db()
    assert (key.revoked_at, key.disabled_at) == (None, None)
    assert key.prefix not in html_of(stranger.get("/keys/"))


def test_forms_need_their_token(alice: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice.user)
    response = client.post("/keys/", KEY)
    assert response.status_code == 403
    assert "gone stale" in response.content.decode()


# --- invitations --------------------------------------------------------------------------------------------------

NEW = {"email": "new@example.com", "password1": "a long secret 7", "password2": "a long secret 7"}


@pytest.fixture
def by_invitation(db: None, settings: Any) -> Invitation:
    settings.NBP_SIGNUP = "invite"
    return Invitation.objects.create(code="welcome")


def test_without_an_invitation_the_door_is_closed(by_invitation: Invitation) -> None:
    response = Client().get("/accounts/signup/")
    assert "Sign Up Closed" in html_of(response)
    assert Client().get("/invite/guess/").status_code == 404
    assert "by invitation" in html_of(Client().get("/"))


def test_an_invitation_opens_it_once(by_invitation: Invitation) -> None:
    client, late = Client(), Client()
    for each in (client, late):
        assert each.get("/invite/welcome/")["Location"] == "/accounts/signup/"
    assert 'name="password1"' in html_of(client.get("/accounts/signup/"))
    client.post("/accounts/signup/", NEW)
    assert User.objects.get().accounts.count() == 1
    by_invitation.refresh_from_db()
    assert by_invitation.used_at is not None
    late.post("/accounts/signup/", NEW | {"email": "late@example.com"})
    assert User.objects.count() == 1
    assert Client().get("/invite/welcome/").status_code == 404


def test_an_invitation_can_be_for_one_address(by_invitation: Invitation) -> None:
    Invitation.objects.update(email="Friend@example.com")
    client = Client()
    client.get("/invite/welcome/")
    refused = client.post("/accounts/signup/", NEW)
    assert "for another e-mail address" in html_of(refused)
    assert not User.objects.exists()
    client.post("/accounts/signup/", NEW | {"email": "friend@example.com"})
    assert User.objects.get().email == "friend@example.com"


# --- money --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "$0.00"),
        (147_400, "$0.1474"),
        (100_000, "$0.10"),
        (134_000, "$0.1340"),
        (1_210, "$0.00121"),
        (1, "$0.000001"),
        (10_000_000, "$10.00"),
        (1_234_567_890_000, "$1,234,567.89"),
        (9_007_199_254_740_993_000_001, "$9,007,199,254,740,993.000001"),
        (-147_400, "-$0.1474"),
        (None, ""),
    ],
)
def test_money_is_shown_to_the_last_micro(micros: int | None, text: str) -> None:
    assert usd(micros) == text


def test_signs() -> None:
    assert [signed_usd(each) for each in (5_000_000, -5_000_000, 0)] == ["+$5.00", "-$5.00", "$0.00"]

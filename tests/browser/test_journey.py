"""A stranger's first minutes in a real browser, against the real server: sign up, make an image, see it charged once,
make a key, use it. Every page on the way is checked for violations of the content policy and for plain faults."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
EMAIL, PASSWORD = "first@example.com", "a long enough secret 7"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        CHROMIUM is None, reason="NO CHROMIUM: the site was NOT tried in a browser (apt-get install chromium)"
    ),
]

# What a look at a page finds wrong with it.
FAULTS = """() => {
  const faults = [];
  const shown = (each) => each.checkVisibility({visibilityProperty: true}) && each.getClientRects().length;
  if (!document.documentElement.lang) faults.push("no language");
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  if (!document.querySelector("main")) faults.push("no main");
  if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than the window");
  const ids = Array.from(document.querySelectorAll("[id]"), (each) => each.id);
  ids.filter((id, place) => ids.indexOf(id) !== place).forEach((id) => faults.push(`id twice: ${id}`));
  for (const each of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    if (shown(each) && !each.labels.length && !each.ariaLabel) faults.push(`no label: ${each.outerHTML.slice(0, 80)}`);
  }
  for (const each of document.querySelectorAll("img")) {
    if (!each.hasAttribute("alt")) faults.push(`no alt: ${each.outerHTML.slice(0, 80)}`);
  }
  for (const each of document.querySelectorAll("a[href], button, summary, input:not([type=hidden]), select")) {
    if (!shown(each) || getComputedStyle(each).display === "inline" || each.matches(".skip")) continue;
    const {width, height} = each.getBoundingClientRect();
    const isChoice = each.matches("[type=checkbox], [type=radio]");
    if (!isChoice && (width < 24 || height < 24)) faults.push(`small: ${each.outerHTML.slice(0, 80)} ${width}x${height}`);
  }
  for (const each of document.querySelectorAll("[aria-describedby]")) {
    for (const id of each.getAttribute("aria-describedby").split(" ")) {
      if (!document.getElementById(id)) faults.push(`described by nothing: ${id}`);
    }
  }
  return faults;
}"""


@dataclass
class Server:
    """A server of our own with a database of its own."""

    origin: str
    folder: Path
    process: subprocess.Popen[str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Nothing of this process's own world: neither its settings nor its services nor anybody's provider keys.
    mine = re.compile(
        r"NBP_|STRIPE_|GEMINI_|GOOGLE_|DJANGO_|DATABASE_URL|REDIS_URL|CELERY_|EMAIL_URL|SECRET_KEY|ALLOWED_HOSTS"
    )
    environment = {name: value for name, value in os.environ.items() if not mine.match(name)}
    environment |= {"NBP_ENV": "development", "NBP_DATA_DIR": str(folder), "NBP_SHUTDOWN_GRACE_SECONDS": "2"}
    log = (folder / "server.log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--port", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )
    found = Server(f"http://127.0.0.1:{port}", folder, process)
    try:
        _wait_for(found)
        yield found
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait_for(server: Server) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.process.poll() is None, (server.folder / "server.log").read_text()
        try:
            with urllib.request.urlopen(f"{server.origin}/static/site.css", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError((server.folder / "server.log").read_text())


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@dataclass
class Visitor:
    """A page, and everything its console complained about."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        response = self.page.goto(self.origin + path)
        assert response is not None
        assert response.status == 200, f"{path}: {response.status}"
        self.look()

    def look(self) -> None:
        """The page as it stands has no fault, and nothing complained so far."""
        assert self.page.evaluate(FAULTS) == [], self.page.url
        assert self.complaints == []

    def path(self) -> str:
        return self.page.url.removeprefix(self.origin)


def _visitor(chromium: Browser, server: Server, **options: Any) -> Visitor:
    context = chromium.new_context(**options)
    context.set_default_timeout(20_000)
    visitor = Visitor(context.new_page(), server.origin)

    def hear(message: Any) -> None:
        if message.type in ("error", "warning"):
            visitor.complaints.append(f"{visitor.page.url}: {message.text}")

    visitor.page.on("console", hear)
    visitor.page.on("pageerror", lambda error: visitor.complaints.append(f"{visitor.page.url}: {error}"))
    return visitor


def _sign_up(visitor: Visitor, email: str) -> None:
    page = visitor.page
    visitor.go("/accounts/signup/")
    page.get_by_label("Email", exact=True).fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password (again)").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign Up").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Enter Email Verification Code")
    visitor.look()
    mails = page.context.new_page()
    mails.goto(visitor.origin + "/dev/mail/")
    text = mails.locator("article.mail", has_text=email).first.locator("pre").inner_text()
    mails.close()
    code = re.search(r"^([A-Z0-9-]{6,12})$", text, re.MULTILINE)
    assert code, text
    page.get_by_label("Code").fill(code[1])
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url("**/playground/")


def _picture(folder: Path, name: str) -> Path:
    path = folder / name
    Image.radial_gradient("L").convert("RGB").save(path)
    return path


def test_a_stranger_becomes_a_customer(chromium: Browser, server: Server, tmp_path: Path) -> None:
    visitor = _visitor(chromium, server)
    page = visitor.page
    visitor.go("/")
    expect(page.get_by_text("This site is in test mode.")).to_be_visible()
    _sign_up(visitor, EMAIL)

    # The first prompt is there already, its price beside it.
    visitor.look()
    assert page.get_by_label("Prompt").input_value()
    expect(page.locator("#price")).to_have_text("$0.1474")
    page.get_by_role("radio", name="4K").check()
    expect(page.locator("#price")).to_have_text("$0.2640")
    page.get_by_role("radio", name="1K").check()
    page.get_by_label("Images", exact=True).fill("2")
    expect(page.locator("#price")).to_have_text("$0.2948")
    page.get_by_label("Images", exact=True).fill("1")
    page.locator("input[type=file]").set_input_files([_picture(tmp_path, "a.png"), _picture(tmp_path, "b.png")])
    expect(page.locator("#price")).to_have_text("$0.14982")
    page.get_by_label("Role of a.png").select_option("style")

    # A refusal stands at its field, and the chosen files stay chosen.
    prompt = page.get_by_label("Prompt")
    words = prompt.input_value()
    prompt.fill("   ")
    with page.expect_response(lambda answer: answer.status == 422):
        page.get_by_role("button", name="Generate").click()
    expect(page.locator("#prompt-error")).to_contain_text("The prompt is empty.")
    assert visitor.complaints and all("422" in each for each in visitor.complaints)
    visitor.complaints.clear()
    visitor.look()
    expect(page.get_by_label("Role of a.png")).to_have_value("style")
    assert page.evaluate("document.querySelector('input[type=file]').files.length") == 2

    # Ctrl+Enter sends, but not while an input method composes.
    page.get_by_label("Prompt").fill(words)
    page.get_by_label("Prompt").dispatch_event("keydown", {"key": "Enter", "ctrlKey": True, "isComposing": True})
    assert visitor.path() == "/playground/"
    page.get_by_label("Prompt").press("Control+Enter")
    page.wait_for_url("**/generations/**")

    # The image is there, without a reload, and so is its receipt.
    expect(page.locator("#progress")).to_have_attribute("data-status", "succeeded", timeout=30_000)
    image = page.locator("article.card img")
    image.evaluate("image => image.decode()")
    assert image.evaluate("image => image.naturalWidth") == 1024
    assert image.get_attribute("alt") == words[:120]
    receipt = page.locator(".receipt")
    expect(receipt).to_contain_text("$0.14982")
    expect(receipt.get_by_role("row", name="sandbox")).to_contain_text("ok")
    expect(page.locator("#balance")).to_have_text("$99.85018")
    visitor.look()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.endswith(".png")

    # The charge is in the wallet, once, under the entry the receipt names.
    entry = receipt.get_by_role("link", name="ent_").inner_text()
    visitor.go("/wallet/")
    expect(page.get_by_text("Charged from the hold")).to_have_count(1)
    expect(page.locator(f"#{entry}")).to_contain_text("-$0.14982")
    page.locator(f"#{entry} a").click()
    page.wait_for_url("**/generations/**")

    _buy_credit(visitor)
    raw = _make_a_key(visitor)
    visitor.go("/keys/")
    assert raw not in page.content()
    _use_the_key(server, raw)
    visitor.go("/images/")
    expect(page.locator(".tile")).to_have_count(2)
    visitor.go("/keys/")
    assert "never" not in page.locator(".key", has_text="laptop").inner_text()
    page.context.close()


def _buy_credit(visitor: Visitor) -> None:
    """To the page that stands in for Stripe's and back, a declined card on the way; then the statement."""
    page = visitor.page
    visitor.go("/billing/")
    page.get_by_role("radio", name="$25.00").check()
    page.get_by_label("Keep the card").check()
    page.get_by_role("button", name="Go to payment").click()
    page.wait_for_url("**/dev/stripe/c/pay/**")
    visitor.look()
    page.get_by_label("Declined: too little money").check()
    page.get_by_role("button", name="Pay $25.00").click()
    expect(page.get_by_role("alert")).to_contain_text("insufficient funds")
    visitor.look()
    page.get_by_label("4242424242424242").check()
    page.get_by_role("button", name="Pay $25.00").click()
    page.wait_for_url("**/billing/top-ups/**")
    expect(page.get_by_role("status")).to_contain_text("$25.00 went into your test wallet", timeout=30_000)
    visitor.look()
    page.get_by_role("link", name="Billing").first.click()
    for summary in ("Automatic recharge: off", "Redeem a code", "Limits and mails"):
        page.get_by_text(summary).click()
    visitor.look()
    page.get_by_label("Recharge automatically").check()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Automatic recharge is on.")).to_be_visible()
    page.get_by_role("button", name="Cards and invoices").click()
    page.wait_for_url("**/dev/stripe/p/session/**")
    expect(page.get_by_text("visa 4242")).to_be_visible()
    visitor.look()
    page.get_by_role("link", name="Back").click()
    page.wait_for_url("**/billing/")
    visitor.go("/wallet/?show=paid")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text("+$25.00")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert "top_up" in Path(download.value.path()).read_text()


def _make_a_key(visitor: Visitor) -> str:
    page = visitor.page
    visitor.go("/keys/")
    page.get_by_label("Name").fill("laptop")
    page.get_by_label("Budget in USD").fill("2.5")
    page.get_by_text("More limits").click()
    visitor.look()
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your new key")
    visitor.look()
    raw = page.locator("#raw-key").inner_text()
    assert raw.startswith("nbp_test_")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the key").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == raw
    assert raw in page.locator("#curl").inner_text()
    return raw


def _use_the_key(server: Server, raw: str) -> None:
    """As the snippet on the key's page does it."""
    request = urllib.request.Request(
        f"{server.origin}/api/v1/generations",
        data=json.dumps({"prompt": "A nano banana by post", "image_size": "1K"}).encode(),
        headers={"Authorization": f"Bearer {raw}", "Content-Type": "application/json", "Prefer": "wait=30"},
    )
    with urllib.request.urlopen(request, timeout=40) as answer:
        assert answer.status == 200
        made = json.load(answer)
    assert made["status"] == "succeeded"
    assert made["price_micros"] == 147_400
    with urllib.request.urlopen(made["outputs"][0]["url"], timeout=10) as picture:
        assert picture.read(8) == b"\x89PNG\r\n\x1a\n"


def _note(server: Server) -> dict[str, str]:
    """The demo's logins."""
    found: dict[str, str] = json.loads((server.folder / "quickstart.json").read_text())
    return found


def _sign_in(visitor: Visitor, server: Server) -> None:
    note = _note(server)
    visitor.go("/accounts/login/")
    visitor.page.get_by_label("Email").fill(note["email"])
    visitor.page.get_by_label("Password", exact=True).fill(note["password"])
    visitor.page.get_by_role("main").get_by_role("button", name="Sign In").click()
    visitor.page.wait_for_url("**/playground/")


def _generate(visitor: Visitor, prompt: str, status: str, *, is_grounded: bool = False) -> None:
    page = visitor.page
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_role("radio", name="1K").check()
    page.get_by_label("Ground it in a web search").set_checked(is_grounded)
    page.get_by_role("button", name="Generate").click()
    page.wait_for_url("**/generations/**")
    expect(page.locator("#progress")).to_have_attribute("data-status", status, timeout=30_000)


def test_failure_editing_and_grounding(chromium: Browser, server: Server) -> None:
    visitor = _visitor(chromium, server, color_scheme="dark", viewport={"width": 390, "height": 844})
    page = visitor.page
    _sign_in(visitor, server)
    balance = page.locator("#balance").inner_text()

    _generate(visitor, "Something sandbox:refuse", "failed")
    expect(page.locator(".failure")).to_contain_text("Not charged.")
    expect(page.locator("#balance")).to_have_text(balance)
    visitor.look()

    # The page of an image in the making counts the seconds and learns of the end by itself.
    visitor.go("/playground/")
    _generate(visitor, "Patience sandbox:slow:3", "running")
    expect(page.locator(".elapsed")).to_have_text(re.compile("[1-9] s"))
    visitor.look()
    expect(page.locator("#progress")).to_have_attribute("data-status", "succeeded", timeout=30_000)

    visitor.go("/playground/")
    _generate(visitor, "News of the day", "succeeded", is_grounded=True)
    frame = page.frame_locator("iframe.suggestions")
    expect(frame.get_by_role("link", name="sandbox")).to_be_visible()
    visitor.look()

    # Turn by turn: the image is beside the form, and the next one continues it.
    page.get_by_role("link", name="Edit this image").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Edit an image")
    assert page.locator(".previous img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 1024
    visitor.look()
    page.get_by_label("What should change?").fill("Make it night")
    page.get_by_label("Model").select_option("gemini-nano-banana-2.1")
    expect(page.get_by_text("8:1", exact=True)).to_be_visible()
    expect(page.get_by_label("What should change?")).to_have_value("Make it night")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_url("**/generations/**")
    expect(page.locator("#progress")).to_have_attribute("data-status", "succeeded", timeout=30_000)
    visitor.look()
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_is_sound(chromium: Browser, server: Server, scheme: Any, width: int) -> None:
    visitor = _visitor(chromium, server, color_scheme=scheme, viewport={"width": width, "height": 844})
    for path in ("/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/dev/mail/"):
        visitor.go(path)
    _sign_in(visitor, server)
    for path in (
        "/",
        "/playground/",
        "/images/",
        "/wallet/",
        "/keys/",
        "/api/v1/docs/errors",
        "/accounts/email/",
        "/accounts/password/change/",
        "/accounts/2fa/",
        "/accounts/logout/",
    ):
        visitor.go(path)
    visitor.go("/accounts/2fa/totp/activate/")
    visitor.page.get_by_label("Password", exact=True).fill(_note(server)["password"])
    visitor.page.get_by_role("button", name="Confirm").click()
    expect(visitor.page.locator("img.qr")).to_be_visible()
    visitor.look()
    visitor.go("/wallet/")
    visitor.page.get_by_role("button", name="Live", exact=True).click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Live wallet")
    expect(visitor.page.locator("#balance")).to_have_text("$10.00")
    visitor.look()
    visitor.page.context.close()


def test_without_scripts(chromium: Browser, server: Server) -> None:
    """The form, the wait and the image need no script."""
    visitor = _visitor(chromium, server, java_script_enabled=False)
    page = visitor.page
    _sign_in_plainly(page, server)
    page.get_by_label("Prompt").fill("A plain banana")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_url("**/generations/**")
    expect(page.locator("article.card img")).to_be_visible(timeout=30_000)
    page.context.close()


def _sign_in_plainly(page: Page, server: Server) -> None:
    note = _note(server)
    page.goto(server.origin + "/accounts/login/")
    page.get_by_label("Email").fill(note["email"])
    page.get_by_label("Password", exact=True).fill(note["password"])
    page.get_by_role("main").get_by_role("button", name="Sign In").click()
    page.wait_for_url("**/playground/")

"""Words that strangers chose, shown and stored: as text on every page, never as markup, formulas, headers or paths."""

from __future__ import annotations

import ast
import csv
import dataclasses
import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.ledger import adjustments
from accounts.models import ApiKey, User
from generation.channels import registry
from generation.contract import Source
from generation.models import Generation, Reference
from tests import images
from tests.faults.doors import ask, signed_in
from tests.faults.routes import routes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

ROOT = Path(__file__).resolve().parents[2]
ATTACK = "\"'></textarea></title><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"
HTML = re.compile(r"<script>alert|<img src=x|49\}|onerror=alert\(1\)>")


@pytest.fixture
def attacked(alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The attack as prompt, model's text, source, suggestion, key's name, account's name, tag and reference's name."""
    sandbox = registry.ADAPTERS["sandbox"]
    draw = sandbox.generate

    async def evil(*arguments: Any) -> Any:
        answer = await draw(*arguments)
        sources = (Source(ATTACK, "javascript:alert(1)"), Source("", f"https://example.com/{ATTACK}"))
        return dataclasses.replace(answer, text=ATTACK, sources=sources, search_suggestions=ATTACK)

    monkeypatch.setattr(sandbox, "generate", evil)
    ApiKey.objects.filter(account=alice.account).update(name=ATTACK[:100])
    alice.account.name = ATTACK
    alice.account.save()
    fields = {"metadata": {ATTACK[:60]: ATTACK}, "tags": [ATTACK[:64]], "search_grounding": True, "image_size": "1K"}
    made = ask(alice, "POST", "generations", {"prompt": ATTACK, **fields}).json()
    queue.run()
    answer = ask(alice, "GET", f"generations/{made['id']}").json()
    assert (answer["status"], answer["prompt"]) == ("succeeded", ATTACK)
    return {"generation_id": made["id"], "output_id": made["outputs"][0]["id"]}


def test_h15_markup_in_anybodys_words_is_text_on_every_page_of_the_site(attacked: dict[str, str], alice: Any) -> None:
    generation, output = attacked["generation_id"], attacked["output_id"]
    browser = signed_in(alice.user)
    shown = []
    for path in (
        "/images/",
        f"/generations/{generation}/",
        f"/generations/{generation}/progress/",
        f"/playground/?again={generation}",
        f"/playground/?previous={output}",
        "/keys/",
        "/wallet/",
        f"/nowhere/{ATTACK}",
    ):
        answer = browser.get(path)
        html = answer.content.decode()
        assert answer.status_code in (200, 404)
        assert not HTML.search(html), path
        assert "javascript:" not in re.sub(r"<[^>]*>|&[^;]*;", "", " ".join(re.findall(r'href="([^"]*)"', html))), path
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
        shown += [path] if "&lt;script&gt;" in html else []
    assert len(shown) >= 5


def test_h15_a_providers_markup_stands_in_a_cage_without_scripts(attacked: dict[str, str], alice: Any) -> None:
    path = f"/generations/{attacked['generation_id']}/suggestions/{attacked['output_id']}/"
    answer = signed_in(alice.user).get(path)
    assert HTML.search(answer.content.decode()), "it is shown as it came"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy


def test_h15_markup_is_text_in_the_admin_too(attacked: dict[str, str]) -> None:
    browser = signed_in(User.objects.create_superuser("operator@example.com", "correct horse battery"))
    shown = 0
    for model in admin.site._registry:
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        row = model._default_manager.first()
        pages = [f"{base}_changelist"] + ([f"{base}_change", f"{base}_history"] if row is not None else [])
        for page in pages:
            path = reverse(page, args=[row.pk] if not page.endswith("list") else [])
            html = browser.get(path, follow=True).content.decode()
            assert not HTML.search(html), path
            shown += "&lt;script&gt;" in html
    assert shown >= 4


def test_h15_the_api_gives_words_back_as_json_and_nothing_sniffs_it(attacked: dict[str, str], alice: Any) -> None:
    answer = ask(alice, "GET", f"generations/{attacked['generation_id']}", headers={"accept": "text/html"})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    not_found = ask(alice, "GET", f"<script>alert(1)</script>{ATTACK}")
    assert not_found.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("words", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_h15_words_in_the_statement_are_no_formula(alice: Any, words: str) -> None:
    now = datetime.now(UTC)
    adjustments.grant(account=alice.account, mode="test", amount_micros=1, actor="x", reason=words, now=now)
    answer = signed_in(alice.user).get("/wallet/statement.csv")
    assert answer["Content-Type"].startswith("text/csv") and "attachment" in answer["Content-Disposition"]
    lines = list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))
    assert lines[0]["note"] == f"'{words}"


def test_h15_there_is_one_export_and_one_writer_of_it() -> None:
    assert [each.pattern for each in routes() if re.search(r"csv|export|xls|ods", each.pattern)] == [
        "wallet/statement.csv"
    ]
    writers = {"csv", "openpyxl", "xlsxwriter", "odf"}
    for package in ("accounts", "generation", "nbp_site"):
        for path in (ROOT / package).rglob("*.py"):
            if path == ROOT / "generation" / "pages" / "wallet.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [each.name for each in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
                module = getattr(node, "module", None) or ""
                assert not writers & {name.split(".")[0] for name in [module, *names]}, path


NAMES = {
    "a quote": 'x"; filename="y.html',
    "a line break": "x\r\nSet-Cookie: stolen=1\r\n.png",
    "a path": "../../../../etc/passwd",
    "a drive": "C:\\windows\\x.png",
    "right to left": "\u202egnp.exe",
    "long": "x" * 5000,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_h15_a_files_name_becomes_no_header_and_no_path(alice: Any, queue: Any, name: str) -> None:
    head = '--limit\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    body = head.format("prompt", "").encode() + b"x\r\n" + head.format("image_size", "").encode() + b"1K\r\n"
    body += head.format("photo", f'; filename="{name}"').encode() + images.png(64, 48) + b"\r\n--limit--\r\n"
    made = ask(alice, "POST", "generations", raw=body, content_type="multipart/form-data; boundary=limit")
    if made.status_code == 400:
        # The name broke the part's own head, and with it the part.
        assert (Generation.objects.count(), Reference.objects.count()) == (0, 0)
        assert "stolen" not in made.serialize_headers().decode()
        return
    assert made.status_code == 202, made.content
    queue.run()
    assert re.fullmatch(r"[\w/-]+\.png", Reference.objects.get().storage_name)
    output = made.json()["outputs"][0]["id"]
    answer = ask(alice, "GET", f"outputs/{output}/content")
    assert answer.headers["Content-Disposition"] == f'inline; filename="{output}.png"'
    assert "Set-Cookie" not in answer.headers
    assert not answer.cookies


@pytest.mark.parametrize("header", ["Idempotency-Key", "Prefer", "X-Request-Id", "Origin", "Accept", "Authorization"])
def test_h15_no_header_that_was_sent_breaks_a_line_of_an_answer(alice: Any, queue: Any, header: str) -> None:
    headers = alice.headers() | {header.lower(): "wait=0\r\nSet-Cookie: stolen=1"}
    answer = Client().post("/api/v1/generations", b'{"prompt": "x"}', "application/json", headers=headers)
    told = answer.serialize_headers().decode()
    assert answer.status_code in (202, 400, 401)
    assert "stolen" not in told

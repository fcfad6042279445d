"""What requests would cost on other terms, by the command an operator types."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from generation import price_books
from generation.management.commands import simulate_costs
from generation.models import Charge, Generation
from tests.upstreams.openai_service import FakeChat
from tests.upstreams.roads import road_to

pytestmark = pytest.mark.django_db(transaction=True)

MIX: list[dict[str, Any]] = [
    {"prompt": "a red shoe on white", "image_size": "2K", "count": 1000},
    {"prompt": "a blue shoe on white", "image_size": "2K", "count": 5000, "deadline_seconds": 86_400},
    {"prompt": "a green shoe on white", "draft": True, "count": 2000},
    {"prompt": "a red shoe on white", "image_size": "2K", "count": 2000, "repeat_of": 1},
]
# 1,120 tokens of picture and 225 of thinking, in micros, at Google's prices; 12 tokens of prompt.
STANDARD = 134_400 + 2_700


def _run(lines: list[dict[str, Any]], folder: Path, *options: str) -> Any:
    path = folder / "requests.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    out = io.StringIO()
    call_command("simulate_costs", str(path), *options, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_a_month_of_ten_thousand_images_costs_less_than_half_of_its_list(tmp_path: Path) -> None:
    found = _run(MIX, tmp_path)
    assert (found["requests"], found["list_cost_micros"]) == (10_000, 1_344_000_000)
    assert found["cost_micros"] <= 600_000_000
    assert found["margin_micros"] == found["price_micros"] - found["cost_micros"] > 0
    for group in ("by_lane", "by_model"):
        for column in ("requests", "list_cost_micros", "cost_micros", "price_micros"):
            assert sum(each[column] for each in found[group].values()) == found[column]
    assert {lane: each["requests"] for lane, each in found["by_lane"].items()} == {
        "cache": 2000,
        "flex": 5000,
        "standard": 3000,
    }
    assert found["by_lane"]["cache"]["cost_micros"] == 0
    assert set(found["by_model"]) == {"gemini-3-pro-image", "gemini-3.1-flash-lite-image"}


def test_thinking_is_counted(tmp_path: Path) -> None:
    one = [{"prompt": "x", "image_size": "1K"}]
    thinking = _run(one, tmp_path)["cost_micros"] - _run(one, tmp_path, "--thinking-tokens", "0")["cost_micros"]
    assert thinking == 2_700
    assert STANDARD <= _run(one, tmp_path)["cost_micros"] <= STANDARD + 3


def test_a_lane_a_price_book_and_an_order_of_channels_are_other_terms(tmp_path: Path) -> None:
    one = [{"prompt": "x", "image_size": "1K"}]
    assert _run(one, tmp_path, "--lane", "batch")["by_lane"]["batch"]["price_micros"] == 73_700
    book = tmp_path / "book.json"
    reseller = {
        "channel_kind": "openai_chat",
        "image_model": "gemini-3-pro-image",
        "image_micros_by_size": {"1K": 90_000},
    }
    price = {"image_model": "gemini-3-pro-image", "image_size": "1K", "image_micros": 120_000, "markup_basis_points": 0}
    book.write_text(json.dumps({"costs": [reseller], "prices": [price]}), encoding="utf-8")
    found = _run(one, tmp_path, "--price-book", str(book), "--channels", "openai_chat,gemini")
    assert (found["cost_micros"], found["price_micros"]) == (90_000, 120_000)
    assert _run(one, tmp_path, "--price-book", str(book), "--channels", "gemini,openai_chat")["cost_micros"] > 130_000


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"prompt": "x", "model": "no-model"}, "Line 1: There is no image model 'no-model'"),
        ({"prompt": "x", "image_size": "8K"}, "Line 1: gemini-3-pro-image makes 1K, 2K, 4K"),
        ({"prompt": "x", "model": "flux-2-pro", "lane": "batch"}, "Line 1: No channel makes flux-2-pro"),
        ({"prompt": "x", "count": "many"}, "Line 1 is no request: count is a whole number"),
        ({"prompt": 7}, "Line 1 is no request: prompt is a text"),
    ],
)
def test_what_would_not_be_accepted_is_said_with_its_line(tmp_path: Path, line: dict[str, Any], words: str) -> None:
    with pytest.raises(CommandError, match=words.replace("(", r"\(")):
        _run([line], tmp_path)


def test_what_is_no_list_of_requests_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for text in ("[1]", "{", "null"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(CommandError, match="Line 1 is no request"):
            call_command("simulate_costs", str(path))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("simulate_costs", str(tmp_path / "nothing"))
    with pytest.raises(CommandError, match="Give a FILE"):
        call_command("simulate_costs")


def test_last_month_is_replayed_as_it_was_measured(
    api: Any, alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was made in test mode cost nothing and is left out."""
    with FakeChat(cached=True) as fake:
        road_to(fake.base_url, "reseller")
        for mode in ("live", "live", "test"):
            api(alice, "POST", "generations", {"prompt": "a lighthouse", "image_size": "4K"}, mode=mode)
        queue.run_to_the_end()
    out = io.StringIO()
    call_command("simulate_costs", "--last-month", "--json", stdout=out)
    assert json.loads(out.getvalue())["requests"] == 0
    hour = timedelta(hours=1)
    monkeypatch.setattr(
        simulate_costs, "_last_month", lambda now: price_books.delivered(since=now - hour, until=now + hour)
    )
    out = io.StringIO()
    call_command("simulate_costs", "--last-month", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert (found["requests"], found["list_cost_micros"]) == (2, 480_000)
    # The fake thinks for 100 tokens.
    assert 482_400 <= found["cost_micros"] <= 482_420
    assert found["price_micros"] == sum(each.price_micros for each in Charge.objects.filter(mode="live"))
    assert Generation.objects.count() == 3

"""The native wire form: the Prefer header, and idempotency keys."""

from __future__ import annotations

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from generation.contract import Refusal
from generation.dialects import admission
from generation.dialects.native import translate


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("wait=30", 30),
        ("wait=120", 120),
        ("wait=121", 120),
        ("wait=99999999", 120),
        ("respond-async, wait=10", 10),
        ("Wait = 5", 5),
        ('wait="7"', 7),
        ("wait=-1", 0),
        ("wait=", 0),
        ("wait=1.5", 0),
        ("await=5", 0),
        ("wait=5; foo=bar", 5),
    ],
)
def test_prefer_wait(header: str, seconds: int) -> None:
    assert translate.wait_seconds(header) == seconds


@given(st.text(max_size=50))
def test_any_prefer_header_is_a_number_of_seconds(header: str) -> None:
    assert 0 <= translate.wait_seconds(header) <= 120


@given(st.text(max_size=300))
def test_an_idempotency_key_is_taken_or_refused(key: str) -> None:
    request = RequestFactory().post("/", headers={"Idempotency-Key": key})
    try:
        assert admission.idempotency_key(request) == key != ""
    except Refusal as refusal:
        assert refusal.param == "Idempotency-Key"

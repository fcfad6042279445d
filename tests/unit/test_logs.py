"""Log lines carry ids and facts, and nothing that a customer wrote."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from django.urls import resolve

from accounts import request_context
from nbp_site.operating import logs

SECRET = "a prompt nobody else may read"


@pytest.fixture(autouse=True)
def _nothing_in_hand() -> None:
    request_context.end_work()


def _record(message: str, *args: object, exception: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    exc_info = (type(exception), exception, exception.__traceback__) if exception else None
    record = logging.LogRecord("generation.x", logging.INFO, __file__, 1, message, args, exc_info)
    record.__dict__.update(extra)
    logs.InHand().filter(record)
    return record


def _json(record: logging.LogRecord) -> dict[str, Any]:
    line = logs.JsonLog().format(record)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def _broken_row() -> Exception:
    """An error as PostgreSQL words it, wrapped as Django wraps it."""
    try:
        try:
            raise RuntimeError(f"null value\nDETAIL:  Failing row contains (1, {SECRET}\nand {SECRET}).\nCONTEXT: x")
        except RuntimeError as error:
            raise ValueError(*error.args) from error
    except ValueError as error:
        return error


def test_a_json_line_has_the_ids_in_hand_and_the_events_facts() -> None:
    with request_context.working_on(output="out_1"):
        request_context.note(generation="gen_1", attempt="2")
        found = _json(_record("attempt %d", 2, facts={"channel": "gemini", "milliseconds": 12}))
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "severity": "INFO",
        "logger": "generation.x",
        "message": "attempt 2",
        "output": "out_1",
        "generation": "gen_1",
        "attempt": "2",
        "channel": "gemini",
        "milliseconds": 12,
    }


def test_a_line_of_words_has_the_ids_too() -> None:
    with request_context.working_on(output="out_1"):
        assert logs.LineLog().format(_record("hello")).endswith(" INFO generation.x [out_1] hello")
    assert logs.LineLog().format(_record("hello")).endswith(" [-] hello")


def test_other_peoples_extras_are_left_out() -> None:
    request = RequestFactory().get("/m/out_1?signature=abc")
    assert "signature" not in logs.JsonLog().format(_record("x", request=request, password="hunter2"))


@pytest.mark.parametrize("formatter", [logs.JsonLog(), logs.LineLog()], ids=["json", "line"])
def test_a_row_that_the_database_quotes_is_left_out(formatter: logging.Formatter) -> None:
    error = _broken_row()
    shown = formatter.format(_record("it failed: %s", error, exception=error))
    assert SECRET not in shown
    assert "null value" in shown
    assert "ValueError" in shown
    assert "direct cause" in shown


def test_a_path_with_a_one_time_link_is_named_by_its_route() -> None:
    request = RequestFactory().get("/accounts/password/reset/key/1-secret/")
    record = _record("Not Found: %s", request.path, request=request)
    assert record.getMessage() == "Not Found: unmatched"
    request.resolver_match = resolve("/m/out_1")
    assert _record("Gone: %s", request.path, request=request).getMessage() == "Gone: /m/<str:output_id>"


def test_names_do_not_outlive_the_work() -> None:
    request_context.begin_work(output="out_1")
    request_context.note(generation="gen_1")
    assert dict(request_context.in_hand()) == {"output": "out_1", "generation": "gen_1"}
    request_context.end_work()
    request_context.note(generation="gen_2")
    assert dict(request_context.in_hand()) == {}
    assert request_context.current() == ""


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="NBP_LOG_FORMAT"):
        logs.logging_settings(form="xml", level="INFO", library_level="INFO")


@pytest.mark.parametrize("form", ["line", "json"])
def test_the_settings_are_taken_by_the_logging_module(form: str) -> None:
    wanted = logs.logging_settings(form=form, level="INFO", library_level="WARNING")
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in wanted["loggers"]}
    try:
        logging.config.dictConfig(wanted)
        [handler] = root.handlers
        assert isinstance(handler, logging.StreamHandler)
        assert handler.stream is sys.stderr
        assert isinstance(handler.formatter, logs.JsonLog if form == "json" else logs.LineLog)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        for name, each in levels.items():
            logging.getLogger(name).setLevel(each)

"""The published schema keeps its word: a thousand requests it allows or forbids, and no answer it does not describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig

from generation.models import Generation
from nbp_site.asgi import application

SCHEMA_FILE = Path(__file__).resolve().parents[2] / "docs" / "api" / "openapi.yaml"

load_all_checks()
ACCEPTANCE, REJECTION, BODY = CHECKS.get_by_names(
    ["positive_data_acceptance", "negative_data_rejection", "response_schema_conformance"]
)
BOUNDED = settings(
    max_examples=20, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited", "queue"), pytest.mark.slow]


def _schema(**config: Any) -> Any:
    """The published schema before the whole application, as a server would run it."""
    generation = {"with-security-parameters": False} | config.pop("generation", {})
    loaded = schemathesis.openapi.from_path(
        SCHEMA_FILE, config=SchemathesisConfig.from_dict({"seed": 1, "generation": generation, **config})
    )
    loaded.app = application
    return loaded


ANYTHING = _schema()
ALLOWED = _schema(generation={"mode": "positive", "allow-x00": False}, phases={"coverage": {"enabled": False}})


def _checked(case: Any, person: Any, *excluded: Any) -> Any:
    """The answer, if it is no fault, its status and body are documented, and without a valid key it is refused."""
    return case.call_and_validate(
        headers={"Authorization": person.headers()["authorization"]}, excluded_checks=[ACCEPTANCE, *excluded]
    )


@BOUNDED
def whatever_is_asked(case: Any, alice: Any) -> None:
    """What the schema allows may still be refused: no schema knows a model's own ratios, or which ids exist."""
    # A parameter without a value counts as not given.
    _checked(case, alice, *([REJECTION] if "" in (case.query or {}).values() else []))


@pytest.fixture
def known(api: Any, alice: Any, queue: Any) -> dict[str, str]:
    """A finished generation of Alice's, and its output."""
    made = api(alice, "POST", "generations", {"prompt": "x", "image_size": "1K"}).json()
    queue.run()
    return {"generation_id": made["id"], "output_id": made["outputs"][0]["id"]}


@settings(BOUNDED, max_examples=2)
def what_exists(case: Any, alice: Any, known: dict[str, str]) -> None:
    case.path_parameters = {name: known[name] for name in case.path_parameters}
    # The schema describes a stream of events as text; the check wants a schema of each event, which 3.1 cannot give.
    is_stream = case.operation.path.endswith("/events")
    answer = _checked(case, alice, *([BODY] if is_stream else []))
    assert answer.status_code == 200


@BOUNDED
def what_is_accepted(case: Any, alice: Any) -> None:
    """Fields that depend on no model and on no row are drawn; the others are left out."""
    drawn = {"seed"} if case.media_type == "application/json" else set()
    case.body = {"prompt": "a kite over the sea", "image_size": "1K"} | {
        # To JSON Schema 0.0 is an integer; the API wants it written as one.
        name: int(value) if isinstance(value, float) else value
        for name, value in case.body.items()
        if name in drawn
    }
    case.headers = {}
    before = Generation.objects.count()
    answer = _checked(case, alice)
    is_create = case.operation.path.endswith("/generations")
    assert (answer.status_code, Generation.objects.count() - before) == ((202, 1) if is_create else (200, 0))


def _each(schema: Any, asked: Any, *ids: str) -> dict[str, Any]:
    """A test per operation, each with a name of its own, so that none is taken for a repetition of another."""
    return {
        f"test_{asked.__name__}_of_{name}_is_answered_as_described": schema.include(operation_id=name).parametrize()(
            asked
        )
        for name in ids
    }


OPERATIONS = {each.ok().definition.raw["operationId"]: each.ok().path for each in ANYTHING.get_all_operations()}
globals().update(
    _each(ANYTHING, whatever_is_asked, *OPERATIONS)
    | _each(ALLOWED, what_exists, *(name for name, path in OPERATIONS.items() if "{" in path))
    | _each(ALLOWED, what_is_accepted, "generations_create", "quotes_create")
)

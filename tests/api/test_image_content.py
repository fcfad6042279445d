"""The images themselves: asked for again, asked about, and handed to the server in front."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.test import Client

from generation import media
from generation.models import Media

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]


@pytest.fixture
def output(api: Any, alice: Any, queue: Any) -> dict[str, Any]:
    """A finished output of Alice's."""
    made = api(alice, "POST", "generations", {"prompt": "x", "image_size": "1K"}).json()
    queue.run()
    found: dict[str, Any] = api(alice, "GET", f"generations/{made['id']}").json()["outputs"][0]
    return found


def _link(output: dict[str, Any]) -> str:
    return str(output["url"].removeprefix("http://testserver"))


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
def test_a_client_that_has_the_image_is_told_so(
    api: Any, alice: Any, output: dict[str, Any], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"If-None-Match": form.format(Media.objects.get().sha256)}
    monkeypatch.setattr(media, "is_whole", lambda file: pytest.fail("the disk was asked"))
    for response in (
        Client().get(_link(output), headers=known),
        api(alice, "GET", f"outputs/{output['id']}/content", headers=known),
    ):
        assert (response.status_code, response.content) == (304, b"")
        assert response["ETag"] == f'"{Media.objects.get().sha256}"'
        assert response["Cache-Control"] == "private, max-age=3600, immutable"


def test_a_client_that_has_another_image_gets_this_one(output: dict[str, Any], body_of: Any) -> None:
    response = Client().get(_link(output), headers={"If-None-Match": '"0000"'})
    assert (response.status_code, len(body_of(response))) == (200, output["byte_count"])


def test_knowing_an_image_is_no_credential(api: Any, bob: Any, output: dict[str, Any]) -> None:
    known = {"If-None-Match": "*"}
    assert api(bob, "GET", f"outputs/{output['id']}/content", headers=known).status_code == 404
    assert Client().get(_link(output)[:-4] + "beef", headers=known).status_code == 403


def test_a_head_request_opens_no_file(
    api: Any, alice: Any, output: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media, "opened", lambda name: pytest.fail("a file was opened"))
    for response in (Client().head(_link(output)), api(alice, "HEAD", f"outputs/{output['id']}/content")):
        assert (response.status_code, response.content) == (200, b"")
        assert (int(response["Content-Length"]), response["Content-Type"]) == (output["byte_count"], "image/png")
        assert response["Content-Disposition"].startswith("inline")


def test_a_link_is_for_looking_only(output: dict[str, Any]) -> None:
    response = Client(enforce_csrf_checks=True).post(_link(output))
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
    assert response["Allow"] == "GET, HEAD"


def test_a_server_in_front_may_send_the_file(api: Any, alice: Any, output: dict[str, Any], settings: Any) -> None:
    settings.NBP_ACCEL_PREFIX = "/stored/"
    for response in (Client().get(_link(output)), api(alice, "GET", f"outputs/{output['id']}/content")):
        assert (response.status_code, response.content) == (200, b"")
        assert response["X-Accel-Redirect"] == f"/stored/{Media.objects.get().storage_name}"
        assert response["Content-Type"] == "image/png"
    assert Client().get(_link(output)[:-4] + "beef").headers.get("X-Accel-Redirect") is None


def test_a_server_in_front_may_read_what_is_stored() -> None:
    before = os.umask(0o077)
    try:
        media.store("outputs/zz/x.png", b"x")
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE(Path(default_storage.path(name)).stat().st_mode) for name in ("outputs/zz", "outputs/zz/x.png")
    ]
    assert modes == [0o750, 0o640]


def test_a_server_in_front_is_not_sent_to_a_file_that_is_gone(output: dict[str, Any], settings: Any) -> None:
    settings.NBP_ACCEL_PREFIX = "/stored/"
    name = Media.objects.get().storage_name
    kept = media.read(name)
    media.remove(name)
    assert Client().get(_link(output)).json()["error"]["code"] == "image_gone"
    media.store(name, kept)

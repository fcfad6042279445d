"""The examples of the doors' pages, run as they are printed there against a running service."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from generation.channels.fakes.gemini import FakeGemini
from tests.dialects import sdks
from tests.live.conftest import Service, example_environment

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"openai": "openai", "gemini": "google-genai", "ai-gateway": ""}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=["test", "live"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with its sandbox, and one whose live channel speaks Google's wire. Afterwards each image that was asked
    for was charged once."""
    folder, settings = tmp_path_factory.mktemp("service"), {"NBP_REQUESTS_PER_MINUTE": "100000"}
    with FakeGemini() as gemini:
        if request.param == "live":
            settings |= {"GEMINI_API_KEY": "a-made-up-key", "GOOGLE_GEMINI_BASE_URL": gemini.base_url}
        made = Service(folder, settings).start()
        made.mode = request.param
        try:
            yield made
            made.audit()
            charged = sum(int(each["image_count"]) for each in made.ask("GET", "usage", mode="live").json()["data"])
            assert charged == len(gemini.requests)
        finally:
            made.kill()


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / "api" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _run(command: list[str], running: Service, folder: Path, where: Path | None = None) -> str:
    done = subprocess.run(
        command,
        env=example_environment(running, folder),
        cwd=where or folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout


@pytest.mark.parametrize("page", [page for page, sdk in PAGES.items() if sdk])
def test_python(page: str, running: Service, tmp_path: Path) -> None:
    sdk = sdks.python_sdks(PAGES[page])[-1]
    blocks = _blocks(page, "python")
    assert len(blocks) > 2
    _run([str(sdks.python_of(sdk)), "-c", "\n".join(blocks)], running, tmp_path)
    assert (tmp_path / "banana.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", PAGES)
def test_javascript(page: str, running: Service, tmp_path: Path) -> None:
    folder = sdks.javascript_of("current")
    blocks = [each for each in _blocks(page, "js") if not each.startswith("// route.js")]
    assert len(blocks) > 1
    imports = sorted({line for each in blocks for line in re.findall(r"^import .*$", each, re.MULTILINE)})
    rest = [re.sub(r"^import .*\n", "", each, flags=re.MULTILINE) for each in blocks]
    script = folder / f"example-{page}.mjs"
    script.write_text("\n".join([*imports, *rest]), encoding="utf-8")
    node = str(folder / "node_modules" / ".bin" / "node")
    _run([node, str(script)], running, tmp_path)
    assert (tmp_path / "banana.png").read_bytes().startswith(b"\x89PNG")


def test_a_route_handler_of_nextjs(running: Service, tmp_path: Path) -> None:
    """Next.js calls the exported function with a standard Request; so does this."""
    folder = sdks.javascript_of("current")
    handler = next(each for each in _blocks("ai-gateway", "js") if each.startswith("// route.js"))
    (folder / "route.mjs").write_text(handler, encoding="utf-8")
    (folder / "call-route.mjs").write_text(
        'import { POST } from "./route.mjs";\n'
        'const body = JSON.stringify({ prompt: "A nano banana" });\n'
        'const answer = await POST(new Request("http://localhost/api/draw", { method: "POST", body }));\n'
        'console.log(answer.status, answer.headers.get("content-type"), (await answer.arrayBuffer()).byteLength > 1000);\n',
        encoding="utf-8",
    )
    node = str(folder / "node_modules" / ".bin" / "node")
    assert _run([node, str(folder / "call-route.mjs")], running, tmp_path).split() == ["200", "image/png", "true"]


@pytest.mark.parametrize("page", ["openai", "gemini"])
def test_shell(page: str, running: Service, tmp_path: Path) -> None:
    blocks = [each for each in _blocks(page, "sh") if "$NBP_BASE_URL" in each]
    assert blocks
    assert _run(["bash", "-euo", "pipefail", "-c", "\n".join(blocks)], running, tmp_path)

"""Google's Batch API on loopback: jobs inline and from files, which end after so many looks, with results as scripted."""

from __future__ import annotations

import json
import random
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from generation.channels.fakes.faults import STATUSES, UNCOMPOSED, Fault
from generation.channels.fakes.gemini_answers import Composition, error_document
from generation.channels.fakes.gemini_request import GoogleError, authenticate, last_prompt, read
from generation.channels.fakes.http import Reply, Request, json_reply
from generation.channels.fakes.server import FakeUpstream
from generation.channels.fakes.studio import Studio

_CREATE = re.compile(r"/v1beta/models/([^/:]+):batchGenerateContent")
_JOB = re.compile(r"/v1beta/(batches/[a-z0-9]+)(:cancel)?")
_DOWNLOAD = re.compile(r"/download/v1beta/(files/[a-z0-9]+):download")
_TOKENS_OF_AN_IMAGE = 1120


@dataclass
class Job:
    """A job; `lines` are its requests with their keys, `state` is the last word of a BATCH_STATE."""

    name: str
    display_name: str
    model: str
    lines: list[tuple[str, Any]]
    is_inline: bool
    state: str = "RUNNING"
    looks: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(_TOKENS_OF_AN_IMAGE + len(last_prompt(request)) // 4 for _, request in self.lines)


class FakeGeminiBatch(FakeUpstream):
    """`POST models/{m}:batchGenerateContent` is work; everything else only looks at it.

    A job ends after `looks_until_end` looks (None: when `end` is called). `item_fault_for(key)` spoils single items;
    besides the faults of the Gemini API it may answer "missing", "error" and "unreadable". `enqueued_token_limit` is
    what unfinished jobs may have in all.
    """

    def __init__(self, *, cached: bool = True, looks_until_end: int | None = 1) -> None:
        super().__init__()
        self.looks_until_end = looks_until_end
        self.jobs: dict[str, Job] = {}
        self.files: dict[str, bytes] = {}
        self.item_fault_for: Callable[[str], str] = lambda _key: ""
        self.is_shuffled = True
        self.enqueued_token_limit = 10**12
        self.peak_tokens = 0
        self._uploads: dict[str, bytearray] = {}
        self._studio = Studio(signing_key=b"a key of its own", size_bytes=0, cached=cached)

    def end(self, state: str = "SUCCEEDED") -> None:
        """All running jobs end so."""
        for job in self.jobs.values():
            job.state = state if job.state == "RUNNING" else job.state

    def is_work(self, request: Request) -> bool:
        return request.method == "POST" and _CREATE.fullmatch(request.path) is not None

    def prompt_of(self, body: Any) -> str:
        return ""

    def respond(self, request: Request, body: Any, fault: Fault) -> Reply:
        if fault.name in STATUSES:
            code = int(fault.name)
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return json_reply(code, error_document(GoogleError(code, *STATUSES[fault.name])), headers)
        if fault.name in UNCOMPOSED - {"close", "reset", "silent"}:
            return json_reply(200, {})
        try:
            if not request.path.startswith("/upload-address/"):
                authenticate(request.headers, request.query)
            return self._routed(request, body)
        except GoogleError as error:
            return json_reply(error.code, error_document(error))
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            return json_reply(400, error_document(GoogleError(400, "INVALID_ARGUMENT", f"Malformed: {error}")))

    def _routed(self, request: Request, body: Any) -> Reply:
        if match := _CREATE.fullmatch(request.path):
            return self._create(match[1], body["batch"])
        if request.path == "/v1beta/batches":
            return json_reply(200, {"operations": [self._shown(each, False) for each in self.jobs.values()]})
        if match := _JOB.fullmatch(request.path):
            return self._job(match[1], is_cancel=bool(match[2]))
        if match := _DOWNLOAD.fullmatch(request.path):
            return Reply(200, {"Content-Type": "application/octet-stream"}, [self.files[match[1]]])
        if request.path == "/upload/v1beta/files":
            return self._begin_upload(request)
        if request.path.startswith("/upload-address/"):
            return self._piece(request)
        raise GoogleError(404, "NOT_FOUND", "The requested URL was not found on this server.")

    def _create(self, model: str, batch: Any) -> Reply:
        source = batch["inputConfig"]
        if "fileName" in source:
            found = [json.loads(line) for line in self.files[source["fileName"]].splitlines()]
            lines = [(each["key"], each["request"]) for each in found]
        else:
            lines = [(each["metadata"]["key"], each["request"]) for each in source["requests"]["requests"]]
        job = Job(f"batches/{secrets.token_hex(6)}", batch["displayName"], model, lines, "fileName" not in source)
        for _, each in lines:
            read(model, each, self._studio.is_issued)
        queued = sum(each.tokens for each in self.jobs.values() if each.state == "RUNNING") + job.tokens
        if queued > self.enqueued_token_limit:
            raise GoogleError(429, "RESOURCE_EXHAUSTED", "The enqueued token limit is exceeded.")
        self.peak_tokens = max(self.peak_tokens, queued)
        self.jobs[job.name] = job
        return json_reply(200, self._shown(job, False))

    def _job(self, name: str, *, is_cancel: bool) -> Reply:
        if name not in self.jobs:
            raise GoogleError(404, "NOT_FOUND", "The job was not found.")
        job = self.jobs[name]
        if is_cancel:
            job.state = "CANCELLED" if job.state == "RUNNING" else job.state
            return json_reply(200, {})
        job.looks += 1
        if self.looks_until_end is not None and job.looks >= self.looks_until_end and job.state == "RUNNING":
            job.state = "SUCCEEDED"
        return json_reply(200, [json.dumps(self._shown(job, True)).encode()])

    def _shown(self, job: Job, with_results: bool) -> dict[str, Any]:
        place = list(self.jobs).index(job.name) if job.name in self.jobs else len(self.jobs)
        metadata: dict[str, Any] = {
            "name": job.name,
            "model": f"models/{job.model}",
            "displayName": job.display_name,
            "state": f"BATCH_STATE_{job.state}",
            "createTime": f"2026-01-01T00:{place // 60:02}:{place % 60:02}Z",
        }
        if job.state == "FAILED":
            metadata["error"] = {"code": 13, "message": "The job has failed."}
        if with_results and job.state in ("SUCCEEDED", "PARTIALLY_SUCCEEDED"):
            metadata["output"] = self._output(job)
        return {"name": job.name, "metadata": metadata, "done": job.state != "RUNNING"}

    def _output(self, job: Job) -> dict[str, Any]:
        job.results = job.results or [each for key, request in job.lines for each in self._results(job, key, request)]
        if self.is_shuffled and not job.is_inline:
            random.Random(7).shuffle(job.results)
        if job.is_inline:
            return {"inlinedResponses": {"inlinedResponses": job.results}}
        name = f"files/{job.name.partition('/')[2]}r"
        lines = [b"{not json" if each.get("unreadable") else json.dumps(each).encode() for each in job.results]
        self.files[name] = b"\n".join(lines)
        return {"responsesFile": name}

    def _results(self, job: Job, key: str, request: Any) -> list[dict[str, Any]]:
        named = {"metadata": {"key": key}} if job.is_inline else {"key": key}
        name = self.item_fault_for(key)
        if name == "missing":
            return []
        if name == "unreadable":
            return [{"unreadable": True}]
        if name == "error":
            return [{**named, "error": {"code": 13, "message": "An internal error has occurred."}}]
        if name == "rejected":
            return [{**named, "error": {"code": 3, "message": "The request is wrong."}}]
        asked = read(job.model, request, self._studio.is_issued)
        pieces = Composition(self._studio, asked, Fault(name)).whole()
        return [{**named, "response": json.loads(b"".join(pieces))}]

    def _begin_upload(self, request: Request) -> Reply:
        if request.headers.get("x-goog-upload-protocol") != "resumable":
            raise GoogleError(400, "INVALID_ARGUMENT", "The upload is not resumable.")
        token = secrets.token_hex(8)
        self._uploads[token] = bytearray()
        address = f"{self.base_url}/upload-address/{token}"
        return Reply(200, {"X-Goog-Upload-URL": address, "X-Goog-Upload-Status": "active"}, [])

    def _piece(self, request: Request) -> Reply:
        token = request.path.rpartition("/")[2]
        content = self._uploads[token]
        if int(request.headers["x-goog-upload-offset"]) != len(content):
            raise GoogleError(400, "INVALID_ARGUMENT", "The piece begins at the wrong place.")
        content += request.body
        if "finalize" not in request.headers["x-goog-upload-command"]:
            return Reply(200, {"X-Goog-Upload-Status": "active"}, [])
        name = f"files/{token}"
        self.files[name] = bytes(content)
        return json_reply(200, {"file": {"name": name}}, {"X-Goog-Upload-Status": "final"})

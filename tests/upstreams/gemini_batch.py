"""Google's Batch API on loopback: jobs inline and from uploaded files, which end as scripted; strict as Google is."""

from __future__ import annotations

import itertools
import json
import random
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from generation.channels.fakes import gemini_api
from generation.channels.fakes.faults import SHAPES, STATUSES, UNCOMPOSED, WIRES, Fault
from generation.channels.fakes.gemini_answers import Composition, error_document
from generation.channels.fakes.gemini_request import GoogleError, authenticate, last_prompt, read
from generation.channels.fakes.http import Reply, Request, json_reply
from generation.channels.fakes.server import FakeUpstream, parsed_body
from generation.channels.fakes.studio import Studio

# Statuses and wires strike the request that creates a job, shapes single items of it (`item_fault_for`).
NAMES_PLAYED = frozenset(STATUSES) | WIRES | SHAPES
# What becomes of single items beside that: an error of Google's, or a line that is not as it should be.
ERRORS = {"error": 13, "rejected": 3, "exhausted": 8, "unavailable": 14, "canceled": 1}
LINES = frozenset({"missing", "unreadable", "cut", "unknown-key", "no-key", "twice"})
MOST_INLINE_BYTES, GRANULARITY, LONGEST_FILE_NAME = 20 * 1024 * 1024, 256 * 1024, 46

_CREATE = re.compile(r"/v1beta/models/[^/:]+:batchGenerateContent")
_JOB = re.compile(r"/v1beta/(batches/[a-z0-9]+)(:cancel)?")
_FILE = re.compile(r"/v1beta/(files/[a-z0-9-]+)")
_DOWNLOAD = re.compile(r"(?:/download)?/v1beta/(files/[a-z0-9-]+):download")
_TOKEN = re.compile(r"after\+(\d+)/==")
_DONE = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})


@dataclass
class Job:
    """A job; `lines` are its requests with their keys, `state` is the last word of a BATCH_STATE, `results` are JSON."""

    name: str
    display_name: str
    model: str
    lines: list[tuple[str, Any]]
    is_inline: bool
    number: int = 0
    state: str = "RUNNING"
    looks: int = 0
    results: list[bytes] = field(default_factory=list)

    @cached_property
    def tokens(self) -> int:
        return sum(1120 + len(last_prompt(request)) // 4 for _, request in self.lines)

    @property
    def created_at(self) -> str:
        """Later for each job, with 0, 3, 6 and 9 decimals in turn, as Google writes them."""
        decimals = ("", ".250", ".500000", ".750000001")[self.number % 4]
        return f"2026-01-01T00:{self.number // 240:02}:{self.number // 4 % 60:02}{decimals}Z"


class FakeGeminiBatch(FakeUpstream):
    """`POST models/{m}:batchGenerateContent` is work; everything else is free, kept in `asides`, and struck by what
    `aside_fault_for` says.

    A job ends after `looks_until_end` looks (None: when `finish` or `state_for` is called). `item_fault_for(key)`
    spoils single items: a Fault of SHAPES, or a word of ERRORS or LINES. `enqueued_token_limit` is what unfinished jobs
    may have in all. `prefix` is that of the states, `download_type` the content type of result files.
    """

    def __init__(self, *, cached: bool = True, looks_until_end: int | None = 1, latency_seconds: float = 0.0) -> None:
        super().__init__(latency_seconds=latency_seconds)
        self.looks_until_end = looks_until_end
        self.jobs: dict[str, Job] = {}
        self.files: dict[str, bytes] = {}
        self.asides: list[Request] = []
        self.aside_fault_for: Callable[[Request], Fault | None] = lambda _request: None
        self.item_fault_for: Callable[[str], Fault | str | None] = lambda _key: None
        self.is_shuffled = True
        self.enqueued_token_limit = 10**12
        self.peak_tokens = 0
        self.prefix, self.download_type = "BATCH_STATE_", "application/octet-stream"
        # Answers are made by several threads.
        self._queue = threading.Lock()
        self._numbers = itertools.count()
        self._uploads: dict[str, tuple[int, bytearray]] = {}
        self._studio = Studio(signing_key=b"a key of its own", size_bytes=0, cached=cached)

    def finish(self, name: str) -> None:
        """A job ends well."""
        self.state_for(name, "SUCCEEDED")

    def state_for(self, name: str, state: str) -> None:
        """A job is in such a state from now on."""
        self.jobs[name].state = state

    def repeat(self, name: str) -> str:
        """The same job once more, as if it had been created twice; its name."""
        job = self.jobs[name]
        return self._kept(Job("", job.display_name, job.model, job.lines, job.is_inline)).name

    def is_work(self, request: Request) -> bool:
        return request.method == "POST" and _CREATE.fullmatch(request.path) is not None

    def prompt_of(self, body: Any) -> str:
        return ""

    def _answer(self, request: Request, received_at: float) -> tuple[Reply, Fault]:
        if self.is_work(request):
            return super()._answer(request, received_at)
        self.asides.append(request)
        fault = self.aside_fault_for(request) or Fault()
        return self.respond(request, parsed_body(request), fault), fault

    def respond(self, request: Request, body: Any, fault: Fault) -> Reply:
        if fault.name in STATUSES or fault.name in UNCOMPOSED - {"close", "reset", "silent"}:
            return gemini_api.respond(self._studio, request, body, fault)
        try:
            if "upload_id" not in request.query:
                authenticate(request.headers, request.query)
            return self._routed(request, body)
        except GoogleError as error:
            return json_reply(error.code, error_document(error))
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            wrong = GoogleError(400, "INVALID_ARGUMENT", f"Invalid JSON payload received: {error!r}")
            return json_reply(400, error_document(wrong))

    def _routed(self, request: Request, body: Any) -> Reply:
        if request.path == "/upload/v1beta/files" and request.method == "POST":
            return self._piece(request) if "upload_id" in request.query else self._begin_upload(request, body)
        if self.is_work(request):
            return self._create(request, body)
        if request.path == "/v1beta/batches" and request.method == "GET":
            return self._list(request.query)
        if match := _JOB.fullmatch(request.path):
            return self._job(match[1], f"{request.method}{match[2] or ''}")
        if request.method == "GET" and (match := _DOWNLOAD.fullmatch(request.path)):
            return self._download(match[1], request.query)
        if request.method == "GET" and (match := _FILE.fullmatch(request.path)):
            return json_reply(200, self._file(match[1]))
        raise GoogleError(404, "NOT_FOUND", "The requested URL was not found on this server.")

    def _create(self, request: Request, body: Any) -> Reply:
        model = request.path.rpartition("/")[2].partition(":")[0]
        _only(body, "batch")
        _only(body["batch"], "displayName", "inputConfig", "priority", "model")
        _need(
            isinstance(body["batch"]["displayName"], str), "* BatchGenerateContentRequest.batch.display_name: invalid"
        )
        _need(len(request.body) <= MOST_INLINE_BYTES, "The request is too large.")
        source = body["batch"]["inputConfig"]
        _only(source, "requests", "fileName")
        _need(len(source) == 1, "Exactly one of requests and file_name is needed.")
        if "fileName" in source:
            found = [json.loads(line) for line in self._content(source["fileName"]).splitlines()]
            lines = _keyed(found, lambda each: each["key"])
        else:
            lines = _keyed(source["requests"]["requests"], lambda each: each["metadata"]["key"])
        for _, each in lines:
            read(model, each, self._studio.is_issued)
        job = Job("", body["batch"]["displayName"], model, lines, "fileName" not in source)
        with self._queue:
            queued = sum(each.tokens for each in self.jobs.values() if each.state not in _DONE) + job.tokens
            if queued > self.enqueued_token_limit:
                raise GoogleError(429, *STATUSES["429"])
            self.peak_tokens = max(self.peak_tokens, queued)
            self._kept(job)
        return json_reply(200, self._shown(job))

    def _kept(self, job: Job) -> Job:
        job.name, job.number = f"batches/{secrets.token_hex(18)}", next(self._numbers)
        self.jobs[job.name] = job
        return job

    def _list(self, query: Mapping[str, str]) -> Reply:
        """The newest first. A token has characters that have to be quoted."""
        token = query.get("pageToken", "")
        match = _TOKEN.fullmatch(token)
        _need(not token or match is not None, "The page token is invalid.")
        start, size = int(match[1]) if match else 0, min(int(query.get("pageSize", "50")), 100)
        newest = list(self.jobs.values())[::-1]
        more = {"nextPageToken": f"after+{start + size}/=="} if start + size < len(newest) else {}
        shown = [self._shown(each) for each in newest[start : start + size]]
        return json_reply(200, ({"operations": shown} if shown else {}) | more)

    def _job(self, name: str, verb: str) -> Reply:
        if name not in self.jobs or verb not in ("GET", "DELETE", "POST:cancel"):
            raise GoogleError(404, "NOT_FOUND", "Requested entity was not found.")
        job = self.jobs[name]
        if verb == "DELETE":
            del self.jobs[name]
        if verb != "GET":
            job.state = job.state if job.state in _DONE else "CANCELLED"
            return json_reply(200, {})
        job.looks += 1
        if self.looks_until_end is not None and job.looks >= self.looks_until_end and job.state == "RUNNING":
            job.state = "SUCCEEDED"
        return self._with_results(job)

    def _with_results(self, job: Job) -> Reply:
        shown = self._shown(job)
        if job.state not in ("SUCCEEDED", "PARTIALLY_SUCCEEDED"):
            return json_reply(200, shown)
        job.results = job.results or [each for key, asked in job.lines for each in self._results(job, key, asked)]
        if job.is_inline:
            place = secrets.token_hex(16)
            shown["metadata"]["output"] = {"inlinedResponses": {"inlinedResponses": [place]}}
            before, after = json.dumps(shown).encode().split(f'"{place}"'.encode())
            return json_reply(200, [before, b",".join(job.results), after])
        name = f"files/batch-{job.name.partition('/')[2]}"
        lines = random.Random(7).sample(job.results, len(job.results)) if self.is_shuffled else job.results
        self.files[name] = b"\n".join(lines)
        shown["response"] = shown["metadata"]["output"] = {"responsesFile": name}
        return json_reply(200, shown)

    def _shown(self, job: Job) -> dict[str, Any]:
        told = {"name": job.name, "model": f"models/{job.model}", "displayName": job.display_name}
        stats = {"batchStats": {"requestCount": str(len(job.lines))}, "createTime": job.created_at}
        metadata = told | stats | {"state": f"{self.prefix}{job.state}"}
        failed = {"error": {"code": 13, "message": "The job has failed."}} if job.state == "FAILED" else {}
        done = {"done": True} if job.state in _DONE else {}
        return {"name": job.name, "metadata": metadata, **done, **failed}

    def _results(self, job: Job, key: str, request: Any) -> list[bytes]:
        word = self.item_fault_for(key) or Fault()
        if isinstance(word, Fault):
            return [self._whole(job, key, request, word)]
        if word in ERRORS:
            said = {"error": {"code": ERRORS[word], "message": f"{word}: said of {key}."}}
            return [json.dumps(_named(job, key) | said).encode()]
        whole = self._whole(job, "no-such-key" if word == "unknown-key" else key, request, Fault())
        no_response = json.dumps(_named(job, key) | {"response": "cut"}).encode()
        cut = [no_response if job.is_inline else whole[: len(whole) // 2]]
        unreadable = [b"{}" if job.is_inline else b"{not json"]
        spoiled = {"missing": [], "cut": cut, "unreadable": unreadable, "no-key": [b'{"response": {}}']}
        return spoiled.get(word, [whole] * (2 if word == "twice" else 1))

    def _whole(self, job: Job, key: str, request: Any, fault: Fault) -> bytes:
        pieces = Composition(self._studio, read(job.model, request, self._studio.is_issued), fault).whole()
        response = b"".join(pieces).replace(b"\n", b"")
        return json.dumps(_named(job, key)).encode()[:-1] + b', "response": ' + response + b"}"

    def _begin_upload(self, request: Request, body: Any) -> Reply:
        headers = request.headers
        told = headers.get("x-goog-upload-protocol"), headers.get("x-goog-upload-command")
        _need(told == ("resumable", "start"), "The upload is not resumable.")
        _only(body, "file")
        _only(body["file"], "name", "displayName", "mimeType", "sizeBytes")
        _need(headers["x-goog-upload-header-content-type"] == body["file"]["mimeType"], "The MIME types differ.")
        token = secrets.token_hex(8)
        self._uploads[token] = (int(headers["x-goog-upload-header-content-length"]), bytearray())
        # The public address of Google, which a proxy in front of it passes on as it is.
        address = f"https://generativelanguage.example/upload/v1beta/files?upload_id={token}&upload_protocol=resumable"
        return Reply(200, {"X-Goog-Upload-URL": address, "X-Goog-Upload-Status": "active"}, [])

    def _piece(self, request: Request) -> Reply:
        byte_count, content = self._uploads[request.query["upload_id"]]
        command = request.headers["x-goog-upload-command"]
        _need(command in ("upload", "upload, finalize"), "The upload command is unknown.")
        _need(int(request.headers["x-goog-upload-offset"]) == len(content), "The piece begins at the wrong place.")
        content += request.body
        if command == "upload":
            _need(len(request.body) % GRANULARITY == 0, f"A piece has a multiple of {GRANULARITY} bytes.")
            return Reply(200, {"X-Goog-Upload-Status": "active"}, [])
        _need(len(content) == byte_count, "The file is not as long as was said.")
        name = f"files/{secrets.token_hex(6)}"
        self.files[name] = bytes(content)
        return json_reply(200, {"file": self._file(name)}, {"X-Goog-Upload-Status": "final"})

    def _file(self, name: str) -> dict[str, Any]:
        _need(len(name) <= LONGEST_FILE_NAME, "* GetFileRequest.name: File ID cannot be more than 40 characters.\n")
        return {"name": name, "mimeType": "application/jsonl", "sizeBytes": str(len(self._content(name)))}

    def _content(self, name: str) -> bytes:
        if name not in self.files:
            raise GoogleError(403, "PERMISSION_DENIED", f"You do not have permission to access {name}.")
        return self.files[name]

    def _download(self, name: str, query: Mapping[str, str]) -> Reply:
        _need(query.get("alt") == "media" and name.startswith("files/batch-"), "Only generated files are downloaded.")
        return Reply(200, {"Content-Type": self.download_type}, [self._content(name)])


def _keyed(found: Any, key_of: Callable[[Any], Any]) -> list[tuple[str, Any]]:
    for each in found:
        _only(each, "key", "request", "metadata")
    lines = [(key_of(each), each["request"]) for each in found]
    _need(all(isinstance(key, str) and key for key, _ in lines or [("", "")]), "A batch has requests, each with a key.")
    return lines


def _named(job: Job, key: str) -> dict[str, Any]:
    return {"metadata": {"key": key}} if job.is_inline else {"key": key}


def _only(found: Any, *names: str) -> None:
    """An object with no fields but these."""
    for name in found.keys() - set(names):
        _need(False, f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')


def _need(is_right: bool, message: str) -> None:
    if not is_right:
        raise GoogleError(400, "INVALID_ARGUMENT", message)

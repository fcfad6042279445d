"""How errors of every status look to a caller of OpenAI's SDK."""

import json
import os

import openai
from openai import OpenAI

BASE, MODEL = os.environ["NBP_ORIGIN"] + "/openai/v1", "gemini-3-pro-image"
KEYS = json.loads(os.environ["NBP_KEYS"])


def error_of(key, call):
    """The class, the status and the code."""
    try:
        call(OpenAI(base_url=BASE, api_key=KEYS[key], max_retries=0))
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.code]
    return "no error"


def make(client, prompt="x", **more):
    return client.images.generate(model=MODEL, prompt=prompt, **more)


def reuse(client):
    key = {"Idempotency-Key": "openai"}
    make(client, "one", extra_headers=key)
    make(client, "two", extra_headers=key)


def hurry(client):
    for _ in range(2):
        client.models.list()


big = OpenAI(base_url=BASE, api_key=KEYS["full"]).images.generate(model=MODEL, prompt="in 4K", size="4K")
seen = {
    "big": len(big.data[0].b64_json) > 20_000,
    "400": error_of("full", lambda client: make(client, "")),
    "401": error_of("wrong", make),
    "402": error_of("poor", make),
    "403": error_of("narrow", make),
    "404": error_of("full", lambda client: client.images.generate(model="nothing", prompt="x")),
    "422": error_of("full", reuse),
    "429": error_of("slow", hurry),
    "503": error_of("unserved", make),
    "402 chat": error_of(
        "poor", lambda client: client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
    ),
    "402 responses": error_of("poor", lambda client: client.responses.create(model=MODEL, input="x")),
    "429 files": error_of("slow", lambda client: client.files.list()),
    "404 batch": error_of("full", lambda client: client.batches.retrieve("batch_nothing")),
}
print(json.dumps(seen))

"""How errors of every status look to a caller of google-genai."""

import io
import json
import os

from google import genai
from google.genai import errors, types

ORIGIN, MODEL = os.environ["NBP_ORIGIN"], "gemini-3-pro-image"
KEYS = json.loads(os.environ["NBP_KEYS"])


def client_of(key, **headers):
    options = types.HttpOptions(base_url=f"{ORIGIN}/gemini", headers=headers)
    return genai.Client(api_key=KEYS[key], http_options=options)


def error_of(key, call, **headers):
    """The class, the status and its word."""
    client = client_of(key, **headers)
    try:
        call(client)
    except errors.APIError as error:
        return [type(error).__name__, error.code, error.status]
    return "no error"


def make(client, prompt="x", model=MODEL):
    return client.models.generate_content(model=model, contents=prompt)


def stream(client):
    return list(client.models.generate_content_stream(model=MODEL, contents="x"))


def same_name(client):
    for _ in range(2):
        client.files.upload(file=io.BytesIO(b"x"), config={"mime_type": "image/png", "name": "the-same"})


def reuse(client):
    make(client, "one")
    make(client, "two")


def hurry(client):
    for _ in range(2):
        list(client.models.list())


config = types.GenerateContentConfig(image_config=types.ImageConfig(image_size="4K"))
full = client_of("full")
big = full.models.generate_content(model=MODEL, contents="in 4K", config=config)
seen = {
    "big": len(big.candidates[0].content.parts[-1].inline_data.data) > 20_000,
    "400": error_of("full", lambda client: make(client, "")),
    "401": error_of("wrong", make),
    "402": error_of("poor", make),
    "402 stream": error_of("poor", stream),
    "403": error_of("narrow", make),
    "404": error_of("full", lambda client: make(client, model="nothing")),
    "409": error_of("full", same_name),
    "422": error_of("full", reuse, **{"Idempotency-Key": "google"}),
    "429": error_of("slow", hurry),
    "503": error_of("unserved", make),
    "404 batch": error_of("full", lambda client: client.batches.get(name="batches/nothing")),
}
print(json.dumps(seen))

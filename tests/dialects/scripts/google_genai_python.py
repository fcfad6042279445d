"""Every call of google-genai that this service answers, as its users write them; prints what came as JSON."""

import asyncio
import io
import json
import os
import time

from google import genai
from google.genai import errors, types

ORIGIN, KEY, MODEL = os.environ["NBP_ORIGIN"], os.environ["NBP_API_KEY"], "gemini-3-pro-image"
client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=f"{ORIGIN}/gemini"))
seen = {"version": genai.__version__}


def size_of(png):
    """Width and height in the header of a PNG."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n", png[:20]
    return [int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")]


def image_of(response):
    parts = response.candidates[0].content.parts
    return next(part.inline_data.data for part in parts if part.inline_data is not None)


def error_of(call):
    """How a call fails, as its caller sees it."""
    try:
        call()
    except errors.APIError as error:
        return [type(error).__name__, error.code, error.status]
    return "no error"


def ask(contents, **config):
    return client.models.generate_content(
        model=MODEL, contents=contents, config=types.GenerateContentConfig(**config) if config else None
    )


seen["models"] = [each.name for each in client.models.list(config={"page_size": 2})]
seen["model"] = client.models.get(model="google/gemini-3-pro-image").display_name
made = ask(
    "一只猫",
    response_modalities=["TEXT", "IMAGE"],
    image_config=types.ImageConfig(aspect_ratio="16:9"),
    temperature=0.5,
    seed=7,
    thinking_config=types.ThinkingConfig(include_thoughts=True),
    safety_settings=[
        types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE"),
    ],
)
png = image_of(made)
seen["generate"] = [size_of(png), made.text != "", made.usage_metadata.total_token_count > 0, made.model_version]
picture = types.Part.from_bytes(data=png, mime_type="image/png")
seen["edit"] = size_of(image_of(ask([picture, "make it red"])))
seen["system"] = size_of(image_of(ask("a dog", system_instruction="Be kind.", tools=[{"google_search": {}}])))
chunks = list(client.models.generate_content_stream(model=MODEL, contents="a stream"))
parts = [part for each in chunks for part in each.candidates[0].content.parts]
seen["stream"] = [
    [size_of(part.inline_data.data) for part in parts if part.inline_data],
    str(chunks[-1].candidates[0].finish_reason),
]

chat = client.chats.create(model=MODEL)
first = chat.send_message("a cat")
second = chat.send_message("make it blue")
streamed = list(chat.send_message_stream("and now green"))
# Longer than the pings are apart, which must not spoil the history.
slow = client.chats.create(model=MODEL)
list(slow.send_message_stream("sandbox:slow:17 a slow stream"))
after = slow.send_message("and then")
seen["slow chat"] = [len(slow.get_history(curated=True)) > 3, after.usage_metadata.prompt_token_count > 500]
seen["chat"] = [
    size_of(image_of(second)),
    second.usage_metadata.prompt_token_count > 500,
    any(part.inline_data for each in streamed for part in each.candidates[0].content.parts),
]
seen["tokens"] = client.models.count_tokens(model=MODEL, contents=["a cat on a mat", picture]).total_tokens
blocked = ask("sandbox:refuse")
seen["blocked"] = [blocked.candidates, str(blocked.prompt_feedback.block_reason)]


file = client.files.upload(file=io.BytesIO(png), config={"mime_type": "image/png", "display_name": "a picture"})
named = ask([file, "with a file"])
seen["files"] = [
    file.size_bytes == len(png),
    named.usage_metadata.prompt_token_count > 500,
    client.files.get(name=file.name).display_name,
    file.name in [each.name for each in client.files.list()],
]
client.files.delete(name=file.name)
seen["file gone"] = error_of(lambda: client.files.get(name=file.name))


def end_of(batch):
    while batch.state.name in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
        time.sleep(0.2)
        batch = client.batches.get(name=batch.name)
    return batch


inline = [
    {"contents": [{"role": "user", "parts": [{"text": "a batch"}]}], "config": {"response_modalities": ["IMAGE"]}},
    {"contents": [{"role": "user", "parts": [{"text": "another"}]}], "config": {"candidate_count": 3}},
]
done = end_of(client.batches.create(model=MODEL, src=inline, config={"display_name": "inline"}))
answers = done.dest.inlined_responses
lines = [
    {"key": f"k{number}", "request": {"contents": [{"parts": [{"text": prompt}]}]}}
    for number, prompt in enumerate(["a batch", "sandbox:no-image"])
]
text = "\n".join(json.dumps(each) for each in lines).encode()
sent = client.files.upload(file=io.BytesIO(text), config={"mime_type": "jsonl", "display_name": "requests"})
by_file = end_of(client.batches.create(model=MODEL, src=sent.name, config={"display_name": "by file"}))
results = [json.loads(each) for each in client.files.download(file=by_file.dest.file_name).splitlines()]
slow = {"contents": [{"role": "user", "parts": [{"text": "sandbox:slow:2"}]}]}
stopped = client.batches.create(model=MODEL, src=[slow] * 40, config={"display_name": "stopped"})
client.batches.cancel(name=stopped.name)
stopped = end_of(stopped)
names = [each.name for each in client.batches.list(config={"page_size": 2})]
client.batches.delete(name=stopped.name)
seen["batches"] = [
    [done.state.name, done.display_name, len(answers)],
    size_of(answers[0].response.candidates[0].content.parts[-1].inline_data.data),
    [answers[1].error.code, "candidateCount" in answers[1].error.message],
    [by_file.state.name, [each["key"] for each in results]],
    ["response" in results[0], results[1]["error"]["code"]],
    stopped.state.name,
    names[:2] == [stopped.name, by_file.name],
    error_of(lambda: client.batches.get(name=stopped.name))[1],
]
made = [each for each in stopped.dest.inlined_responses if each.response]
seen["batch images"] = 2 + len(made)


async def asynchronous():
    several = await asyncio.gather(
        *(client.aio.models.generate_content(model=MODEL, contents="at once") for _ in range(3))
    )
    stream = await client.aio.models.generate_content_stream(model=MODEL, contents="later")
    return [len([image_of(each) for each in several]), len([each async for each in stream])]


seen["async"] = asyncio.run(asynchronous())
wrong = genai.Client(api_key="nbp_test_wrong", http_options=types.HttpOptions(base_url=f"{ORIGIN}/gemini"))
seen["errors"] = {
    "no image": error_of(lambda: ask("sandbox:no-image")),
    "rejected": error_of(lambda: ask("sandbox:rejected")),
    "model": error_of(lambda: client.models.generate_content(model="nothing", contents="x")),
    "ratio": error_of(lambda: ask("x", image_config=types.ImageConfig(aspect_ratio="7:3"))),
    "candidates": error_of(lambda: ask("x", candidate_count=2)),
    "text only": error_of(lambda: ask("x", response_modalities=["TEXT"])),
    "key": error_of(lambda: next(iter(wrong.models.list()))),
    "image": error_of(lambda: ask([types.Part.from_bytes(data=b"no picture", mime_type="image/png"), "x"])),
}
print(json.dumps(seen))

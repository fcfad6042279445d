"""Every call of the OpenAI SDK that this service answers, as its users write them; prints what came as JSON."""

import asyncio
import base64
import io
import json
import os
import time

import openai
from openai import AsyncOpenAI, OpenAI

ORIGIN, KEY, MODEL = os.environ["NBP_ORIGIN"], os.environ["NBP_API_KEY"], "gemini-3-pro-image"
BASE = f"{ORIGIN}/openai/v1"
client = OpenAI(base_url=BASE, api_key=KEY)
seen = {"version": openai.__version__}


def size_of(b64):
    """Width and height in the header of a PNG."""
    data = base64.b64decode(b64, validate=True)
    assert data[:8] == b"\x89PNG\r\n\x1a\n", data[:20]
    return [int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")]


def data_url(png):
    return "data:image/png;base64," + base64.b64encode(png).decode()


def error_of(call):
    """How a call fails, as its caller sees it."""
    try:
        call()
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.code, error.type, error.param]
    except openai.APIError as error:
        return [type(error).__name__, None, error.code, error.type, error.param]
    return "no error"


seen["models"] = [each.id for each in client.models.list()]
seen["model"] = client.models.retrieve("google/gemini-3-pro-image").id

made = client.images.generate(model=MODEL, prompt="一只猫", n=2, size="1536x1024", quality="high", user="u1")
seen["generate"] = [[size_of(each.b64_json) for each in made.data], made.usage.total_tokens > 0, made.size]
png = base64.b64decode(made.data[0].b64_json)
seen["url"] = client.images.generate(model=MODEL, prompt="a", response_format="url", size="auto").data[0].url
extra = {"aspect_ratio": "16:9", "image_size": "1K"}
seen["extra"] = size_of(client.images.generate(model=MODEL, prompt="a wide one", extra_body=extra).data[0].b64_json)
seen["raw"] = sorted(
    name
    for name in client.images.with_raw_response.generate(model=MODEL, prompt="raw").headers
    if name in ("x-generation-id", "x-request-id")
)

for name in ("jpeg", "webp", "png"):
    made = client.images.generate(model=MODEL, prompt="a format", output_format=name, extra_body={"image_size": "1K"})
    start = base64.b64decode(made.data[0].b64_json)[:12]
    seen[name] = [start[:2].hex(), start[8:].decode("latin-1"), made.output_format]

one = client.images.edit(model=MODEL, prompt="red", image=io.BytesIO(png))
many = client.images.edit(model=MODEL, prompt="both", image=[("a.png", png, "image/png"), ("b.png", png)], n=1)
seen["edit"] = [size_of(one.data[0].b64_json), size_of(many.data[0].b64_json)]
seen["mask"] = error_of(lambda: client.images.edit(model=MODEL, prompt="x", image=png, mask=png))

events = list(client.images.generate(model=MODEL, prompt="a stream", stream=True, partial_images=2))
seen["stream"] = [[each.type, size_of(each.b64_json), each.usage.total_tokens > 0] for each in events]
events = list(client.images.edit(model=MODEL, prompt="a stream", image=png, stream=True))
seen["edit stream"] = [each.type for each in events]
seen["failed stream"] = error_of(
    lambda: list(client.images.generate(model=MODEL, prompt="sandbox:refuse", stream=True))
)

messages = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "make it red"},
            {"type": "image_url", "image_url": {"url": data_url(png), "detail": "high"}},
        ],
    }
]
options = {"modalities": ["text", "image"], "image_config": {"aspect_ratio": "16:9", "image_size": "1K"}}
first = client.chat.completions.create(model=MODEL, messages=messages, temperature=0.7, extra_body=options)
message = first.choices[0].message
url = message.images[0]["image_url"]["url"]
seen["chat"] = [message.role, bool(message.content), size_of(url.partition(",")[2]), first.usage.cost]
messages += [message.model_dump(), {"role": "user", "content": "now blue"}]
second = client.chat.completions.create(model=MODEL, messages=messages)
seen["second turn"] = second.usage.prompt_tokens
seen["system"] = len(
    client.chat.completions.create(
        model=MODEL, messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "a dog"}]
    )
    .choices[0]
    .message.images
)
chunks = list(
    client.chat.completions.create(model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True})
)
deltas = [each.choices[0].delta for each in chunks if each.choices]
seen["chat stream"] = {
    "ids": len({each.id for each in chunks}),
    "text": "".join(each.content or "" for each in deltas) != "",
    "images": sum(len(getattr(each, "images", None) or []) for each in deltas),
    "usage": chunks[-1].usage.total_tokens > 0,
    "end": [each.choices[0].finish_reason for each in chunks if each.choices][-1],
}
old = client.chat.completions.create(
    model=MODEL, messages=[{"role": "user", "content": "in the text"}], extra_query={"inline_images": "1"}
)
seen["inline"] = old.choices[0].message.content

answer = client.responses.create(
    model=MODEL, input="a response", tools=[{"type": "image_generation", "size": "1024x1024"}]
)
calls = [each for each in answer.output if each.type == "image_generation_call"]
seen["responses"] = [answer.status, size_of(calls[0].result), bool(answer.output_text)]
again = client.responses.create(model=MODEL, input="now in snow", previous_response_id=answer.id)
seen["responses again"] = [again.previous_response_id == answer.id, again.usage.input_tokens > 500]
kinds = [each.type for each in client.responses.create(model=MODEL, input="a streamed response", stream=True)]
seen["responses stream"] = [kinds[0], kinds[-1], "response.image_generation_call.completed" in kinds]


sent = client.files.create(file=("in.png", png), purpose="vision")
content = [{"type": "input_text", "text": "with a file"}, {"type": "input_image", "file_id": sent.id, "detail": "auto"}]
named = client.responses.create(model=MODEL, input=[{"role": "user", "content": content}])
seen["files"] = [
    sent.bytes == len(png),
    named.usage.input_tokens > 500,
    client.files.content(sent.id).read() == png,
    sent.id in [each.id for each in client.files.list()],
    client.files.delete(sent.id).deleted,
]


def batch_of(url, *bodies):
    lines = [{"custom_id": f"n{n}", "method": "POST", "url": url, "body": each} for n, each in enumerate(bodies)]
    text = "\n".join(json.dumps(each) for each in lines).encode()
    sent = client.files.create(file=("in.jsonl", text), purpose="batch")
    return client.batches.create(input_file_id=sent.id, endpoint=url, completion_window="24h", metadata={"job": "x"})


def end_of(batch):
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    return batch


done = end_of(
    batch_of(
        "/v1/images/generations",
        {"model": MODEL, "prompt": "a batch"},
        {"model": MODEL, "prompt": "a batch", "n": 2},
        {"model": MODEL, "prompt": "sandbox:refuse"},
    )
)
results = [json.loads(each) for each in client.files.content(done.output_file_id).text.splitlines()]
errors = [json.loads(each) for each in client.files.content(done.error_file_id).text.splitlines()]
broken = end_of(batch_of("/v1/images/generations", {"model": MODEL}))
chats = end_of(
    batch_of("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "a batch of chats"}]})
)
chat_results = json.loads(client.files.content(chats.output_file_id).text)
slow = batch_of("/v1/images/generations", *({"model": MODEL, "prompt": "sandbox:slow:2"} for _ in range(40)))
cancelled = end_of(client.batches.cancel(slow.id))
seen["batches"] = [
    [done.status, done.request_counts.completed, done.request_counts.failed, done.metadata],
    [[each["custom_id"], len(each["response"]["body"]["data"])] for each in results],
    [each["response"]["body"]["error"]["code"] for each in errors],
    [broken.status, broken.request_counts.failed],
    len(chat_results["response"]["body"]["choices"][0]["message"]["images"]),
    [cancelled.status, cancelled.request_counts.completed < 40],
    [each.id for each in client.batches.list(limit=2)][:2] == [slow.id, chats.id],
]
seen["batch images"] = 4 + cancelled.request_counts.completed


async def asynchronous():
    async with AsyncOpenAI(base_url=BASE, api_key=KEY) as other:
        several = await asyncio.gather(*(other.images.generate(model=MODEL, prompt="at once") for _ in range(3)))
        stream = await other.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "later"}], stream=True
        )
        return [len(several), len([each async for each in stream]) > 2]


seen["async"] = asyncio.run(asynchronous())

seen["errors"] = {
    "refused": error_of(lambda: client.images.generate(model=MODEL, prompt="sandbox:refuse")),
    "refused chat": error_of(
        lambda: client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "sandbox:refuse"}])
    ),
    "no image": error_of(lambda: client.images.generate(model=MODEL, prompt="sandbox:no-image")),
    "rejected": error_of(lambda: client.images.generate(model=MODEL, prompt="sandbox:rejected")),
    "model": error_of(lambda: client.images.generate(model="nothing", prompt="x")),
    "size": error_of(lambda: client.images.generate(model=MODEL, prompt="x", size="2000x1000")),
    "n": error_of(lambda: client.images.generate(model=MODEL, prompt="x", n=99)),
    "prompt": error_of(lambda: client.images.generate(model=MODEL, prompt="")),
    "style": error_of(lambda: client.images.generate(model=MODEL, prompt="x", style="vivid")),
    "unknown": error_of(lambda: client.images.generate(model=MODEL, prompt="x", extra_body={"colour": "red"})),
    "key": error_of(lambda: OpenAI(base_url=BASE, api_key="nbp_test_wrong").models.list()),
    "route": error_of(lambda: client.fine_tuning.jobs.list()),
    "image": error_of(lambda: client.images.edit(model=MODEL, prompt="x", image=b"no picture")),
}
print(json.dumps(seen))

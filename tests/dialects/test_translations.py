"""The pure rooms of the doors: conversations, sizes, spellings, images in requests, fields."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generation.contract import ReferenceInput, Refusal
from generation.dialects import conversation, data_urls, sizes
from generation.dialects.ai_gateway import images as gateway_images
from generation.dialects.ai_gateway import language
from generation.dialects.conversation import Turn
from generation.dialects.fields import Fields
from generation.dialects.gemini import casing
from generation.dialects.gemini import translate as gemini
from generation.dialects.openai import chat, images, responses

OURS, THEIRS = ReferenceInput(data=b"ours"), ReferenceInput(data=b"theirs")


def _own(image: ReferenceInput) -> str:
    return image.output or ("out_ours" if image.data == b"ours" else "")


def _nobody(image: ReferenceInput) -> str:
    return ""


# --- conversations -----------------------------------------------------------------------------------------------


def test_one_turn_is_a_plain_prompt() -> None:
    asked = conversation.asked([Turn("user", "a cat", (THEIRS,))], _own, param="x")
    assert (asked.prompt, asked.references, asked.previous) == ("a cat", (THEIRS,), "")


def test_rules_stand_before_the_prompt() -> None:
    turns = [Turn("system", "Be kind."), Turn("user", "a cat")]
    assert conversation.asked(turns, _own, param="x").prompt == "Be kind.\n\na cat"


def test_what_continues_our_own_picture_continues_that_output() -> None:
    turns = [
        Turn("user", "a cat", (THEIRS,)),
        Turn("model", "Here.", (OURS,)),
        Turn("user", "blue", (THEIRS,)),
    ]
    asked = conversation.asked(turns, _own, param="x")
    assert (asked.prompt, asked.references, asked.previous) == ("blue", (THEIRS,), "out_ours")


def test_another_ones_picture_goes_along_and_the_story_is_told() -> None:
    turns = [Turn("user", "a cat"), Turn("model", "Here.", (THEIRS,)), Turn("user", "blue")]
    asked = conversation.asked(turns, _own, param="x")
    assert (asked.references, asked.previous) == ((THEIRS,), "")
    assert asked.prompt == "The conversation so far:\nUser: a cat\nModel: Here. [image 1]\n\nblue"


def test_a_picture_that_did_not_come_back_is_found_by_what_was_said_before() -> None:
    first = [Turn("system", "Be kind."), Turn("user", "a cat")]
    known = {conversation.asked(first, _nobody, param="x", ended=lambda sha256: "").conversation: "out_1"}
    turns = [*first, Turn("model", "Here."), Turn("user", "blue")]
    asked = conversation.asked(turns, _nobody, param="x", ended=lambda sha256: known.get(sha256, ""))
    assert (asked.previous, asked.prompt) == ("out_1", "Be kind.\n\nblue")
    known[asked.conversation] = "out_2"
    turns += [Turn("model", "Something else."), Turn("user", "green")]
    assert conversation.asked(turns, _nobody, param="x", ended=lambda sha256: known.get(sha256, "")).previous == "out_2"


def test_our_own_link_is_our_own_picture() -> None:
    link = ReferenceInput(url="http://here/m/out_1")
    asked = conversation.asked([Turn("user", "x", (link,))], lambda image: "out_1" if image.url else "", param="x")
    assert asked.references == (ReferenceInput(output="out_1"),)


def test_a_conversation_without_a_user_is_refused() -> None:
    with pytest.raises(Refusal) as refused:
        conversation.asked([Turn("system", "Be kind.")], _own, param="messages")
    assert refused.value.param == "messages"


# --- sizes, spellings, images, fields ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "found"),
    [
        ("1024x1024", ("1:1", "1K")),
        ("1536x1024", ("3:2", "1K")),
        ("1024x1792", ("9:16", "2K")),
        ("2048x2048", ("1:1", "2K")),
        ("4096x4096", ("1:1", "4K")),
        ("3840x2160", ("16:9", "4K")),
        ("5632x2400", ("21:9", "4K")),
    ],
)
def test_pixels_are_a_ratio_and_a_size(size: str, found: tuple[str, str]) -> None:
    assert sizes.of_pixels(size) == found


@pytest.mark.parametrize("size", ["2000x1000", "8000x8000", "0x10", "10", "axb", "1024 x 1024", "-1x1", "99999x1", ""])
def test_other_pixels_are_refused(size: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        sizes.of_pixels(size)


def test_both_spellings_are_one() -> None:
    mixed = {
        "generation_config": {"imageConfig": {"aspect_ratio": "1:1"}},
        "labels": {"my_own": "x"},
        "x": [{"a_b": 1}],
    }
    assert casing.camel(mixed) == {
        "generationConfig": {"imageConfig": {"aspectRatio": "1:1"}},
        "labels": {"my_own": "x"},
        "x": [{"aB": 1}],
    }
    with pytest.raises(Refusal):
        casing.camel({"mime_type": "a", "mimeType": "b"})


@given(st.binary(min_size=1, max_size=200))
def test_every_way_to_write_base64_is_read(data: bytes) -> None:
    plain = base64.b64encode(data).decode()
    ways = [plain, plain.rstrip("="), base64.urlsafe_b64encode(data).decode(), f"data:image/png;base64,{plain}"]
    assert {data_urls.decoded(way, "x") for way in ways} == {data}


@pytest.mark.parametrize("text", ["", "!", "a b", "data:image/png;base64,", "data:image/png,abc", "ä"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        data_urls.decoded(text, "x")


@pytest.mark.parametrize("text", ["", "ftp://x/y", "file:///etc/passwd", "data:text/plain,hello", "javascript:x"])
def test_only_links_and_data_urls_are_references(text: str) -> None:
    with pytest.raises(Refusal):
        data_urls.reference_of(text, "x")


@pytest.mark.parametrize(
    ("read", "wrong"),
    [
        (lambda fields: fields.text("a"), 1),
        (lambda fields: fields.whole("a", 1, 5), 6),
        (lambda fields: fields.whole("a", 1, 5), True),
        (lambda fields: fields.whole("a", 1, 5), 1.5),
        (lambda fields: fields.flag("a"), "true"),
        (lambda fields: fields.choice("a", ("x",)), "y"),
        (lambda fields: fields.object("a"), []),
        (lambda fields: fields.list("a"), {}),
        (lambda fields: list(fields.objects("a")), [1]),
        (lambda fields: fields.only("b"), 1),
        (lambda fields: fields.lacks("a"), 1),
    ],
)
def test_a_field_of_another_type_is_named(read: Any, wrong: Any) -> None:
    with pytest.raises(Refusal) as refused:
        read(Fields({"a": wrong}, "path"))
    assert str(refused.value.param).startswith("path.a")


@pytest.mark.parametrize(
    "text",
    ["![" * 50_000, "![](" * 50_000, "![a](" + "(" * 100_000, "![" + "a" * 100_000],
    ids=["brackets", "links", "parentheses", "words"],
)
def test_no_text_takes_long_to_read(text: str) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": text},
        {"role": "user", "content": "b"},
    ]
    chat.parse({"messages": messages}, _nobody)


def test_many_contents_and_odd_names_do_not_take_long() -> None:
    contents = [{"role": "user", "parts": [{"text": "x" * 100}]}] * 20_000
    assert len(gemini.turns(Fields({"contents": contents}))) == 1
    with pytest.raises(Refusal):
        casing.camel({"_" * 100_000: 1})


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_what_no_database_takes_is_refused(text: str) -> None:
    for body in ({"user": text}, {"metadata": {"a": text}}, {"model": text}):
        with pytest.raises(Refusal):
            responses.parse({"input": "x", **body}, _nobody)


@pytest.mark.parametrize("metadata", ["x", [1], 5])
def test_metadata_is_an_object(metadata: Any) -> None:
    with pytest.raises(Refusal):
        responses.parse({"input": "x", "metadata": metadata}, _nobody)


@pytest.mark.parametrize("field", ["n", "seed", "input_references"])
def test_a_tool_is_not_given_what_it_would_ignore(field: str) -> None:
    with pytest.raises(Refusal) as refused:
        responses.parse({"input": "x", "tools": [{"type": "image_generation", field: 1}]}, _nobody)
    assert refused.value.param == f"tools[0].{field}"


def test_rules_that_changed_since_are_heard() -> None:
    turns = [Turn("system", "Only grey."), Turn("user", "a"), Turn("model", "", (OURS,)), Turn("user", "b")]
    assert conversation.asked(turns, _own, param="x").prompt == "Only grey.\n\nb"


# --- any body at all ---------------------------------------------------------------------------------------------

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_NAMES = [
    "messages",
    "input",
    "contents",
    "prompt",
    "content",
    "parts",
    "role",
    "type",
    "text",
    "image_url",
    "images",
    "files",
    "data",
    "size",
    "n",
    "stream",
    "tools",
    "model",
    "generationConfig",
    "imageConfig",
    "providerOptions",
    "gateway",
    "google",
    "inlineData",
    "fileData",
    "url",
    "reasoning",
    "modalities",
    "metadata",
    "systemInstruction",
    "labels",
    "stream_options",
    "instructions",
    "previous_response_id",
    "input_references",
    "aspectRatio",
    "mask",
]
_bodies = st.dictionaries(
    st.sampled_from(_NAMES), _values | st.lists(st.dictionaries(st.sampled_from(_NAMES), _values))
)
PARSERS: dict[str, Any] = {
    "images": lambda body: images.parse(body),
    "chat": lambda body: chat.parse(body, _nobody),
    "responses": lambda body: responses.parse(body, _nobody),
    "gemini": lambda body: gemini.parse(casing.camel(body), "m", _nobody),
    "tokens": lambda body: gemini.tokens_of(casing.camel(body), len),
    "language": lambda body: language.parse(body, 4, "m", _nobody),
    "gateway images": lambda body: gateway_images.parse(body, 4, "m"),
}


@pytest.mark.parametrize("name", PARSERS)
# How long a machine takes to draw a body says nothing of its parser.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(body=_bodies)
def test_any_body_is_a_request_or_a_refusal(name: str, body: dict[str, Any]) -> None:
    try:
        assert PARSERS[name](body)
    except Refusal as refusal:
        assert refusal.message


# --- what each dialect asks for ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "ratio", "size"),
    [
        ({}, None, None),
        ({"size": "auto"}, None, None),
        ({"size": "1024x1024"}, "1:1", "1K"),
        ({"size": "4K"}, None, "4K"),
        ({"quality": "hd"}, None, "2K"),
        ({"quality": "low"}, None, "1K"),
        ({"quality": "low", "size": "4096x4096"}, "1:1", "4K"),
        ({"aspect_ratio": "16:9", "image_size": "2K"}, "16:9", "2K"),
        ({"aspect_ratio": "1:1", "size": "1024x1024"}, "1:1", "1K"),
    ],
)
def test_openai_sizes(body: dict[str, Any], ratio: str | None, size: str | None) -> None:
    asked, _ = images.parse({"prompt": "x", **body})
    assert (asked.aspect_ratio, asked.image_size) == (ratio, size)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"aspect_ratio": "16:9", "size": "1024x1024"}, "size"),
        ({"image_size": "4K", "size": "1024x1024"}, "size"),
        ({"background": "transparent"}, "background"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_format": "jpeg", "response_format": "url"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"style": "vivid"}, "style"),
        ({"n": 11}, "n"),
        ({"colour": 1}, "colour"),
        ({"response_format": "xml"}, "response_format"),
    ],
)
def test_what_openai_has_and_we_lack_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(Refusal) as refused:
        images.parse({"prompt": "x", **body})
    assert (refused.value.kind, refused.value.param) == ("invalid", param)


def test_images_in_an_assistants_markdown_come_back_as_images() -> None:
    link = "http://here/m/out_1?x"
    body = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": f"Here.\n\n![image]({link})"},
            {"role": "user", "content": "b"},
        ]
    }
    asked, _ = chat.parse(body, lambda image: "out_1" if image.url == link else "")
    assert (asked.previous, asked.prompt) == ("out_1", "b")


def test_geminis_consecutive_contents_of_one_role_are_one_turn() -> None:
    contents = [{"role": "user", "parts": [{"text": "a"}]}]
    contents += [{"role": "model", "parts": [{"text": "b"}]}, {"role": "model", "parts": [{"text": "c"}]}]
    contents += [{"parts": {"text": "d"}}]
    found = gemini.turns(Fields({"contents": contents}))
    assert [(turn.speaker, turn.text) for turn in found] == [("user", "a"), ("model", "b\nc"), ("user", "d")]


@pytest.mark.parametrize(
    "data", ["YWJj", "data:image/png;base64,YWJj", {"type": "data", "data": "YWJj"}], ids=["bare", "url", "version 4"]
)
def test_the_gateways_ways_to_send_a_file(data: Any) -> None:
    content = [{"type": "text", "text": "x"}, {"type": "file", "mediaType": "image/png", "data": data}]
    asked, _ = language.parse({"prompt": [{"role": "user", "content": content}]}, 4, "m", _nobody)
    assert asked.references == (ReferenceInput(data=b"abc"),)


@pytest.mark.parametrize(("version", "kind"), [(2, "unsupported-setting"), (3, "unsupported"), (4, "unsupported")])
def test_what_has_no_effect_is_a_warning_of_the_version(version: int, kind: str) -> None:
    body = {"prompt": [{"role": "user", "content": "x"}], "temperature": 0.5, "topK": None, "stopSequences": []}
    _, how = language.parse(body, version, "m", _nobody)
    assert [each["type"] for each in how.warnings.render()] == [kind]

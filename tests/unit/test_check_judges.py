"""What came of a check: ok, failed with a remedy, or skipped; whatever a server sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.serving.api import Response
from spark_cluster.serving.check import judges
from spark_cluster.serving.check.answers import Stream
from spark_cluster.serving.check.judges import Judgement, Running

USAGE = {"prompt_tokens": 12, "completion_tokens": 3}


def whole(message: Any, finish: str = "stop", usage: Any = USAGE) -> Response:
    choice = {"message": message, "finish_reason": finish}
    return Response(200, json.dumps({"choices": [choice], "usage": usage}))


def says(text: str | None, **more: Any) -> Response:
    return whole({"role": "assistant", "content": text, **more})


def refused(status: int, message: str) -> Response:
    return Response(status, json.dumps({"error": {"message": message}}))


def call(name: str, arguments: object) -> Response:
    function = {"name": name, "arguments": arguments}
    return says(None, tool_calls=[{"type": "function", "function": function}])


def events(*texts: str, done: bool = True, usage: Any = USAGE, apart: float = 0.1) -> Stream:
    """A streamed answer, an event a text."""
    found = [
        (apart * at, json.dumps({"choices": [{"delta": {"content": text}}]}).encode())
        for at, text in enumerate(texts)
    ]
    last = apart * len(texts)
    found.append((last, json.dumps({"choices": [], "usage": usage}).encode()))
    return Stream(200, (*found, *([(last, b"[DONE]")] if done else [])))


def late(heard: Stream, seconds: float) -> Stream:
    """The same, so many seconds later."""
    return Stream(200, tuple((moment + seconds, data) for moment, data in heard.events))


#: Ten events in a second, and ten in a hundredth of one.
TEN, FAST = events(*"abcdefghij"), events(*"abcdefghij", apart=0.001)

GOOD = '{"city": "Paris", "unit": "celsius"}'


@pytest.mark.parametrize(
    ("found", "result", "part"),
    [
        (judges.chat(says("Paris")), "ok", '"Paris"'),
        (judges.chat(whole({"content": "Paris"}, usage=None)), "failed", "no usage"),
        (judges.chat(says("")), "failed", "empty"),
        (judges.chat(says("", reasoning="Well")), "failed", "all of it came as reasoning"),
        (judges.chat(says(None)), "failed", ""),
        (judges.chat(whole({"content": ["a"]})), "failed", "content is no text"),
        (judges.chat(refused(401, "no key")), "failed", "no key"),
        (judges.chat(Response(200, "<html>")), "failed", "no message in it"),
        (judges.chat(Response(None, "", "connection refused")), "failed", "connection refused"),
        (judges.stream(events("Pa", "ris")), "ok", '"Paris"'),
        (judges.stream(events("Pa", "ris", done=False)), "failed", "without [DONE]"),
        (
            judges.stream(events("all", usage={"prompt_tokens": 1, "completion_tokens": 9})),
            "failed",
            "9 tokens came in one event",
        ),
        (judges.stream(Stream(200, ((0.0, b"{"),))), "failed", "is not JSON"),
        (judges.tools(call("get_weather", GOOD)), "ok", "get_weather("),
        (judges.tools(call("get_weather", "{")), "failed", "are not JSON"),
        (judges.tools(call("get_weather", '{"city": "Paris"}')), "failed", "has no unit"),
        (judges.tools(call("get_weather", {"city": "Paris"})), "failed", "are no text"),
        (judges.tools(call("rm", GOOD)), "failed", "was called, not offered"),
        (judges.tools(says("<tool_call>get_weather")), "failed", "no parser has read"),
        (judges.tools(says("It is warm.")), "failed", "no call, but"),
        (judges.tools(refused(400, "tool choice requires it")), "failed", "tool choice"),
        (judges.reasoning(says("0.05", reasoning="So"), True), "ok", "apart"),
        (judges.reasoning(says("<think>So</think>0.05"), True), "failed", "in the answer"),
        (judges.reasoning(says("0.05"), True), "failed", "the recipe has a parser"),
        (judges.reasoning(says("0.05"), False), "skipped", "no reasoning parser"),
        (judges.structured(says('{"colour": "red", "warm": true}')), "ok", "red"),
        (judges.structured(says('{"colour": "pink", "warm": true}')), "failed", "none of"),
        (judges.structured(says("red")), "failed", "is not JSON"),
        (judges.image(says("Red."), None), "ok", "Red"),
        (judges.image(says("Blue."), None), "failed", "the picture is red"),
        (judges.image(refused(400, "x is not a multimodal model"), None), "skipped", "no images"),
        (judges.image(refused(400, "x is not a multimodal model"), True), "failed", "multimodal"),
        (judges.long(says("yes"), 100, exact=True), "failed", "the model saw 12"),
        (judges.long(says("yes"), 12, exact=True), "ok", "about 12 tokens"),
        (judges.too_long(refused(400, "too long"), says("Hi"), 10), "ok", "too long"),
        (judges.too_long(says("yes"), says("Hi"), 10), "failed", "was answered"),
        (judges.too_long(refused(500, "x"), says("Hi"), 10), "failed", "no HTTP 400"),
        (judges.too_long(refused(400, "x"), refused(500, "dead"), 10), "failed", "a short one"),
        (judges.together(events("a", "b"), events("a", "b")), "ok", "side by side for 0.1 s"),
        (judges.together(TEN, late(TEN, 2.0)), "failed", "waited for the first one's end"),
        (judges.together(FAST, late(FAST, 0.1)), "ok", "too shortly to come side by side"),
        (judges.cancel(events("a"), says("Hi"), Running(0, 0, 0.2)), "ok", "0 requests run"),
        (judges.cancel(events("a"), says("Hi"), Running(0, 1, 15)), "failed", "still run 15 s"),
        (judges.cancel(events("a"), says("Hi"), Running(2, 3, 15)), "skipped", "of others"),
    ],
)
def test_each_answer_gets_its_judgement(found: Judgement, result: str, part: str) -> None:
    assert (found.result, part in found.what) == (result, True), found
    assert bool(found.next) == (result == "failed"), found


def test_a_strangers_words_act_on_nothing() -> None:
    found = judges.chat(says("\x1b[2J\nverdict: rdma" + "x" * 10_000))
    assert "\x1b" not in found.what
    assert "\n" not in found.what
    assert len(found.what) < 400


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner:
       st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
           ["choices", "message", "content", "tool_calls", "function", "usage", "delta"]), inner),
       max_leaves=8))  # fmt: skip
def test_no_answer_is_too_strange(value: object) -> None:
    answer = Response(200, json.dumps(value))
    stream = Stream(200, ((0.0, json.dumps(value).encode()),))
    for found in (
        judges.chat(answer), judges.tools(answer), judges.reasoning(answer, True),
        judges.structured(answer), judges.image(answer, None), judges.stream(stream),
        judges.together(stream, stream), judges.cancel(stream, answer, Running(None, None, 0)),
    ):  # fmt: skip
        assert found.result in ("ok", "failed", "skipped")

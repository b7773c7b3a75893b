"""A streamed answer: however the bytes are cut, the same tokens at the same times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.bench.sse import Answer, Events

RECORDED = (Path(__file__).parent / "data/bench/vllm-stream-0.32.txt").read_bytes()


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in pieces of these sizes, and the rest."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


def answered(*chunks: dict[str, Any] | bytes, step: float = 0.5) -> Answer:
    """An answer of these chunks, one every `step` seconds from 10.0 on."""
    answer = Answer()
    for number, chunk in enumerate(chunks):
        data = chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()
        answer.take(data, 10.0 + number * step)
    return answer


def text(words: str, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": words, "finish_reason": reason}]}


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


@given(st.lists(st.integers(0, 400), max_size=40))
def test_events_do_not_depend_on_how_the_bytes_arrive(sizes: list[int]) -> None:
    whole, pieces = Events(), Events()
    expected = whole.feed(RECORDED)
    assert [event for piece in cut(RECORDED, sizes) for event in pieces.feed(piece)] == expected
    assert len(expected) == 10
    assert expected[-1] == b"[DONE]"


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b": ping\n\nevent: x\nid: 3\ndata: a\n\n", [b"a"]),
        (b"data: a\n", []),
        (b"\n\n\n", []),
        (b"data:  two spaces\n\n", [b" two spaces"]),
    ],
)
def test_events_as_the_standard_has_them(data: bytes, events: list[bytes]) -> None:
    assert Events().feed(data) == events


def test_a_real_stream() -> None:
    answer = Answer()
    for number, event in enumerate(Events().feed(RECORDED)):
        answer.take(event, float(number))
    assert (answer.prompt_tokens, answer.output_tokens) == (5, 8)
    # Most of its tokens are parts of a character and have no text yet: they came all the same.
    assert (answer.first, answer.last) == (0.0, 7.0)
    assert answer.gaps == [1.0] * 7
    assert (answer.done, answer.error) == (True, "")


def test_a_token_is_timed_by_its_chunk() -> None:
    answer = answered(text("one"), text(" two"), text(" three", "length"), usage(7, 3), b"[DONE]")
    assert (answer.first, answer.last, answer.gaps) == (10.0, 11.0, [0.5, 0.5])
    assert (answer.prompt_tokens, answer.output_tokens, answer.done) == (7, 3, True)


def test_several_tokens_in_a_chunk_are_counted_by_the_usage() -> None:
    answer = answered(text("one two three"), text(" four five"), usage(7, 5), b"[DONE]")
    assert (answer.chunks, answer.output_tokens) == (2, 5)


def test_without_usage_chunks_are_counted() -> None:
    answer = answered(text("one"), text(" two"), b"[DONE]")
    assert (answer.prompt_tokens, answer.output_tokens) == (None, 2)


def test_the_chunk_that_opens_a_chat_is_no_token() -> None:
    opening = delta(role="assistant", content="")
    answer = answered(opening, delta(content="one"), delta(content=" two"), usage(9, 2))
    assert (answer.first, answer.chunks) == (10.5, 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "assistant", "content": "Hi"},
        {"content": ""},
        {"reasoning_content": "Hm"},
        {"tool_calls": [{"index": 0}]},
    ],
)
def test_what_carries_a_token_in_a_chat(fields: dict[str, Any]) -> None:
    assert answered(delta(**fields)).chunks == 1


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"error": {"message": "EngineCore died\nmore", "code": 500}}, "EngineCore died"),
        ({"error": "out of memory"}, "out of memory"),
    ],
)
def test_an_error_inside_the_stream(data: dict[str, Any], error: str) -> None:
    answer = answered(text("one"), data, b"[DONE]")
    assert answer.error == f"the stream broke off: {error}"
    assert answer.chunks == 1


def test_what_is_not_json_is_an_error() -> None:
    assert answered(b"<html>").error == "the stream holds something that is not JSON"


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_bytes_of_a_server_break_it(pieces: list[bytes]) -> None:
    events, answer = Events(), Answer()
    for piece in pieces:
        for event in events.feed(piece):
            answer.take(event, 1.0)
    assert answer.output_tokens >= 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "usage", "delta", "error", "prompt_tokens", "role"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=6))
def test_no_json_of_a_server_breaks_it(chunks: list[Any]) -> None:
    answer = Answer()
    for chunk in chunks:
        answer.take(json.dumps(chunk).encode(), 1.0)
    assert answer.chunks <= len(chunks)

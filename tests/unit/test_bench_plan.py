"""What is sent: prompts of an exact length that no cache knows, pictures, levels."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_cluster.bench import images, notes, plan, prompts
from spark_cluster.bench.plan import Settings, Step
from spark_cluster.bench.prompts import WORDS, Calibration


def calibrated(count: Callable[[str], int | None]) -> tuple[Calibration | None, int]:
    """The calibration by a tokenizer, and how often it was asked."""
    asked = 0

    async def counting(text: str) -> int | None:
        nonlocal asked
        asked += 1
        return count(text)

    return asyncio.run(prompts.calibrate(counting)), asked


def words(text: str) -> int:
    return len(text.split())


def split_b(text: str) -> int:
    """A tokenizer with a start token that takes words with a b apart."""
    return 1 + sum(2 if "b" in word else 1 for word in text.split())


def by_bytes(text: str) -> int:
    """No word has a whole number of tokens: 1.25 bytes each."""
    return round(len(text) / 1.25)


@pytest.mark.parametrize("tokens", [1, 17, 128, 4096])
@pytest.mark.parametrize(("count", "overhead", "asked"), [(words, 0, 3), (split_b, 1, None)])
def test_prompts_are_as_long_as_the_servers_tokenizer_says(
    count: Callable[[str], int], overhead: int, asked: int | None, tokens: int
) -> None:
    calibration, questions = calibrated(count)
    assert calibration is not None
    assert (calibration.exact, calibration.overhead) == (True, overhead)
    assert asked is None or questions == asked
    text = prompts.prompt(calibration, tokens, "key")
    assert count(text) == max(tokens, overhead + 1)


def test_a_tokenizer_that_splits_words_leaves_the_others() -> None:
    calibration, _ = calibrated(split_b)
    assert calibration is not None
    assert set(calibration.pool) == {word for word in WORDS if "b" not in word}


def test_a_tokenizer_that_splits_all_words_is_approximated_and_said_so() -> None:
    calibration, _ = calibrated(by_bytes)
    assert calibration is not None
    assert not calibration.exact
    assert "splits the words" in calibration.how
    assert by_bytes(prompts.prompt(calibration, 2000, "key")) == pytest.approx(2000, rel=0.03)


def test_a_server_without_tokenizer_is_estimated() -> None:
    assert calibrated(lambda _: None) == (None, 2)
    found = prompts.estimated(200, 300)
    assert (found.words(300), found.exact) == (200, False)
    assert not Calibration().exact


def test_the_same_key_gives_the_same_prompt() -> None:
    def made(*key: object) -> str:
        return prompts.prompt(Calibration(), 64, *key)

    assert made(0, "a", 1) == made(0, "a", 1)
    assert len({made(0, "a", 1), made(1, "a", 1), made(0, "b", 1), made(0, "a", 2)}) == 4


def test_the_words_are_many_and_different() -> None:
    assert len(WORDS) == len(set(WORDS)) > 200
    assert all(word.isascii() and word.islower() for word in WORDS)


CHOSEN = Settings("sweep", (2,), input_tokens=32, output_tokens=8, salt="s")


def bodies(step: Step, count: int, chosen: Settings = CHOSEN, **more: Any) -> list[dict[str, Any]]:
    todo = plan.queries(step, chosen, Calibration(), "m", **more)
    return [json.loads(query.body) for query in itertools.islice(todo, count)]


def test_no_prompt_begins_as_another_does() -> None:
    """A prefix cache works in blocks of 16 tokens or more: even 8 words are never the same."""
    levels = plan.steps(Settings("sweep", (1, 64), input_tokens=32, output_tokens=8, salt="s"))
    every = [body for level in levels for body in bodies(level, 300)]
    every += bodies(levels[0], 300, warm_up=True)
    assert len({" ".join(body["prompt"].split()[:8]) for body in every}) == len(every)


def test_a_completion_is_of_a_fixed_length_and_streamed_with_its_usage() -> None:
    (step,) = plan.steps(CHOSEN)
    (body,) = bodies(step, 1)
    assert (body["max_tokens"], body["ignore_eos"], body["stream"]) == (8, True, True)
    assert body["stream_options"] == {"include_usage": True}
    assert (body["model"], len(body["prompt"].split())) == ("m", 32)


# Pictures


def pixels(data: bytes) -> tuple[int, int, bytes]:
    """Width, height and rows of an 8-bit RGB PNG, its checksums verified."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, packed, size = 8, b"", (0, 0)
    kinds = []
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        (crc,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert crc == zlib.crc32(kind + body)
        kinds.append(kind)
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
            assert body[8:] == bytes([8, 2, 0, 0, 0])
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
    return *size, zlib.decompress(packed)


@settings(max_examples=25)
@given(st.integers(1, 200), st.integers(1, 200))
def test_a_picture_is_sound(width: int, height: int) -> None:
    found_width, found_height, rows = pixels(images.png(width, height, "key"))
    assert (found_width, found_height) == (width, height)
    assert len(rows) == height * (1 + 3 * width)
    assert all(rows[line * (1 + 3 * width)] == 0 for line in range(height))


def test_pictures_are_small_fixed_by_their_key_and_never_the_same() -> None:
    assert images.png(512, 512, 0, 1) == images.png(512, 512, 0, 1)
    assert images.png(512, 512, 0, 1) != images.png(512, 512, 0, 2)
    assert len(images.png(1024, 1024, 0)) < 100_000


def test_a_picture_goes_as_a_data_url_with_a_text_of_its_own() -> None:
    chosen = Settings("image", (64,), input_tokens=16, output_tokens=8, salt="s", concurrency=2)
    (step,) = plan.steps(chosen)
    first, second = bodies(step, 2, chosen)
    picture, text = first["messages"][0]["content"]
    url = picture["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")
    assert pixels(base64.b64decode(url.partition(",")[2]))[:2] == (64, 64)
    assert text["text"] != second["messages"][0]["content"][1]["text"]
    assert url != second["messages"][0]["content"][0]["image_url"]["url"]


# Levels


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        ("sweep", {}, [("c=1", 1, 8, 1), ("c=64", 64, 256, 8)]),
        ("prefill", {}, [("1 tokens", 1, 5, 1), ("64 tokens", 1, 5, 1)]),
        ("prefill", {"concurrency": 4}, [("1 tokens", 4, 16, 4), ("64 tokens", 4, 16, 4)]),
        ("image", {"concurrency": 32}, [("1x1", 32, 128, 8), ("64x64", 32, 128, 8)]),
        ("sweep", {"requests": 10}, [("c=1", 1, 10, 1), ("c=64", 64, 64, 8)]),
        ("sweep", {"seconds": 5.0}, [("c=1", 1, None, 1), ("c=64", 64, None, 8)]),
        ("sweep", {"warm_up": 0}, [("c=1", 1, 8, 0), ("c=64", 64, 256, 0)]),
    ],
)
def test_the_levels_of_each_kind(
    kind: Any, more: dict[str, Any], expected: list[tuple[str, int, int | None, int]]
) -> None:
    chosen = Settings(kind, (1, 64), input_tokens=16, output_tokens=8, salt="s", **more)
    found = [(s.name, s.concurrency, s.requests, s.warm_up) for s in plan.steps(chosen)]
    assert found == expected


def test_too_few_requests_are_one_for_each_at_once_and_the_level_says_so() -> None:
    chosen = Settings("sweep", (1, 64), input_tokens=16, output_tokens=8, salt="s", requests=10)
    one, many = (list(notes.raised(step)) for step in plan.steps(chosen))
    assert one == []
    assert many == ["64 requests instead of --requests 10: at least one for each at once"]


def test_prompts_that_do_not_fit_the_context_are_left_out_and_named() -> None:
    chosen = Settings("prefill", (1024, 8192), input_tokens=0, output_tokens=1, salt="s")
    kept, left_out = plan.fitting(plan.steps(chosen), 8192)
    assert [step.name for step in kept] == ["1024 tokens"]
    assert left_out == [
        "8192 tokens left out: 8192 + 1 tokens are more than the server's context of 8192"
    ]
    assert plan.fitting(plan.steps(chosen), None)[1] == []

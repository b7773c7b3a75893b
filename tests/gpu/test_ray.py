"""One deployment over Ray, and the tests are its life in order: it comes up, answers, is judged,
hangs, loses a rank, and is launched again."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Iterator

import pytest

from spark_cluster.serving import api

from . import settings, tiny_vl
from .hosts import HEAD
from .lives import (
    Life,
    assert_ready,
    check_evidence,
    check_killed_rank_is_named,
    check_traffic,
    check_wedge,
    ends,
)
from .pair import Pair
from .place import PORT

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def begun(pair: Pair) -> Iterator[Life]:
    life = Life(pair, "tiny")
    yield life
    life.end()


@pytest.fixture
def life(begun: Life, phase: None) -> Life:
    begun.need()
    return begun


def test_it_comes_up(life: Life) -> None:
    """`launch` is ready, a canary answers, the verdict is socket; the model has its name."""
    said = life.need()
    progress = [event["message"] for event in said.events if event.get("kind") == "progress"]
    if not settings.is_standin():  # which starts within one reading
        assert any("model configuration read" in message for message in progress), said
    models = api.response(life.pair.ask(api.get(PORT, "/v1/models", timeout=5))).body
    assert [model["id"] for model in api.json_object(models)["data"]] == [tiny_vl.NAME], models
    metrics = life.pair.ask(
        f"curl -s --noproxy '*' -m 5 http://127.0.0.1:{PORT}/metrics </dev/null"
    )
    assert f'model_name="{tiny_vl.NAME}"' in metrics, metrics[:2000]


def test_image_request(life: Life) -> None:
    """A picture is read and answered."""
    url = f"data:image/png;base64,{base64.b64encode(_png(320, 240)).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What?"}]
    body = {
        "model": tiny_vl.NAME, "max_tokens": 4, "priority": 1,
        "messages": [{"role": "user", "content": content}],
    }  # fmt: skip
    said = life.pair.ask(api.post(PORT, "/v1/chat/completions", body, 60), 60)
    life.pair.record.keep("image.txt", said)
    answer = json.loads(said.partition("\n@@http")[0])
    assert answer["usage"]["completion_tokens"] > 0, said
    assert answer["usage"]["prompt_tokens"] > 50, said  # a picture is more than its question
    life.pair.record.said(f"usage: {answer['usage']}")


def _png(width: int, height: int) -> bytes:
    """A red picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    rows = (b"\0" + b"\xff\0\0" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_verdict_is_socket(life: Life) -> None:
    """`verify-rdma` says socket, with the bytes of a token on each host."""
    check_traffic(life, live=False)


def test_status(life: Life) -> None:
    """`status` knows both ranks, that /health answers, and the verdict."""
    said = life.pair.run("status")
    life.pair.record.said(said.find(r"vllm-head \(tiny, rank 0\) running .*answers on port 8000"))
    said.find(r"vllm-worker \(tiny, rank 1\) running")
    said.find(r"RDMA verdict: socket")


def test_live_under_load(life: Life) -> None:
    """`verify-rdma --live` judges the clients' own tokens."""
    check_traffic(life, live=True)


def test_doctor_names_no_fault_of_the_engine(life: Life) -> None:
    """Nothing is wrong with the engine: no finding of the groups SERVE and GPU."""
    said = life.pair.run("doctor")
    found = re.findall(r"(?:critical|warning)\s+((?:SERVE|GPU|MON)\d+ .*|RDMA016 .*)", said.text)
    life.pair.record.said(f"doctor: {found or 'nothing of the engine'}")
    assert not found, said


def test_evidence(life: Life) -> None:
    """`evidence` holds the logs of all ranks."""
    check_evidence(life)


def test_wedge(life: Life) -> None:
    """A stopped rank under load: a wedge for --live and for watch; it ends when it goes on."""
    check_wedge(life)


def test_killed_rank(life: Life) -> None:
    """A killed rank: status, verify-rdma, doctor and evidence name it, and RDMA is not blamed."""
    check_killed_rank_is_named(life)


def test_again(life: Life) -> None:
    """A second launch into the same containers is ready: it reads its own start's log."""
    said = life.pair.launch("tiny")
    life.pair.record.said(ends(said))
    assert_ready(said)
    assert said.result("containers", HEAD)["status"] in ("ok", "skipped"), said
    if not settings.is_standin():
        assert said.seconds > 20, "so fast that it was the old server's log"

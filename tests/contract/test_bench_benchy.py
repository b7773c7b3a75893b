"""`bench llama-benchy` with the real tool, against a small real server, beside our own results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from . import benchy_tool, tiny_model
from .bench_cli import Bench
from .bench_server import BenchServer

pytestmark = [pytest.mark.contract]

#: Its text's place is named by this, and not fetched: it is in the tool's own cache.
BOOK = "http://book.invalid/text"

LENGTHS = (
    "--pp", "32", "--tg", "8", "--concurrency", "1,2", "--runs", "2", "--output", "theirs",
)  # fmt: skip


class ChatServer(BenchServer):
    """Takes the chats of the tool, whose contents are texts."""

    def post(self, request: BaseHTTPRequestHandler, body: dict[str, Any], received: float) -> None:
        text = " ".join(message["content"] for message in body.get("messages", ()))
        super().post(request, {"prompt": text, **body}, received)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    server = ChatServer(first=0.02, gap=0.005)
    yield server
    server.close()


@pytest.fixture(scope="module")
def tool() -> Path:
    return benchy_tool.folder()


@pytest.fixture
def words(tool: Path, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What gives the real tool its tokenizer and its text without a network."""
    monkeypatch.setenv("PATH", f"{tool}:{os.environ['PATH']}")
    tiny_model.write(tmp_path / "hf")
    (tokenizer,) = (tmp_path / "hf").rglob("tokenizer.json")
    cache = tmp_path / "home/.cache/llama-benchy"
    cache.mkdir(parents=True)
    name = hashlib.md5(BOOK.encode()).hexdigest()
    text = " ".join(f"word{3 + number % 250}" for number in range(20000))
    (cache / f"{name}.txt").write_text(text)
    more = ("--tokenizer", str(tokenizer), "--book-url", BOOK, "--skip-coherence")
    return [word for each in more for word in ("--pass", each)]


def test_the_real_tool_beside_ours(bench: Bench, server: ChatServer, words: list[str]) -> None:
    ours = bench(
        "sweep", "--endpoint", server.url, "--levels", "1,2", "--input-tokens", "32",
        "--output-tokens", "8", "--requests", "8",
    )  # fmt: skip
    assert ours.code == 0, ours.out + ours.err
    (beside,) = Path("benchmark_results").glob("*-sweep.json")
    said = bench(
        "llama-benchy",
        "--endpoint",
        server.url,
        *LENGTHS,
        "--beside",
        str(beside),
        "--json",
        *words,
    )
    assert said.code == 0, said.out + said.err
    told = said.lines[-1]
    assert told["version"] == benchy_tool.VERSION
    rows = told["rows"]
    assert [(row["concurrency"], row["prompt_tokens"]) for row in rows] == [(1, 32), (2, 32)]
    for row in rows:
        assert row["ours"]["level"] == f"c={row['concurrency']}"
        # Both saw one server: a token each 5 ms, the first after 20 ms.
        assert row["decode"]["mean"] == pytest.approx(row["ours"]["decode"], rel=0.35)
        assert row["ttft"]["mean"] == pytest.approx(row["ours"]["ttft"], rel=0.5)
    assert json.loads(Path(told["file"]).read_text())["benchmarks"]


def test_a_server_that_fails_is_told_with_the_tools_words(
    bench: Bench, server: ChatServer, words: list[str]
) -> None:
    words[words.index("--skip-coherence")] = "--no-adapt-prompt"
    said = bench("llama-benchy", "--endpoint", server.url, *LENGTHS, *words)
    assert said.code == 1
    assert "llama-benchy ended with 1 and left no result" in said.err
    assert "| Benchmark failed due to coherence test failure." in said.err

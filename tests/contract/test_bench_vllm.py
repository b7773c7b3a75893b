"""`bench` and `vllm bench serve` on one real vLLM, each held against the server's own clock."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from spark_cluster.bench import files, vllm_serve
from spark_cluster.bench.compare import compare
from spark_cluster.bench.plan import Settings, steps
from spark_cluster.bench.prompts import WORDS
from spark_cluster.bench.results import Run, Server, Spread
from spark_cluster.cli import app
from spark_cluster.serving import metrics
from tests.unit.cases import write

from . import engines_venv, tiny_model
from .sshd_server import eventually, free_port

pytestmark = [pytest.mark.contract, pytest.mark.long]
CONTEXT = 1024

#: Plays docker: `exec NAME PROGRAM …` runs the program here.
DOCKER = '#!/bin/sh\nshift 2\nexec "$@"\n'


def model(home: Path) -> None:
    """The tiny model, with our words in its vocabulary and a longer context."""
    tiny_model.write(home)
    (folder,) = home.glob("hub/models--*/snapshots/*")

    def change(name: str, **fields: object) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    words = ["<unk>", "<s>", "</s>", *WORDS]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())["model"]
    vocabulary = {word: number for number, word in enumerate(words)}
    change("tokenizer.json", model={**tokenizer, "vocab": vocabulary})
    template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    change("tokenizer_config.json", model_max_length=CONTEXT, chat_template=template)
    change("config.json", vocab_size=len(words), max_position_embeddings=CONTEXT)


@dataclass(frozen=True)
class Vllm:
    """A running server; `environment` is that of its image."""

    port: int
    environment: dict[str, str]
    log: Path

    def metrics(self) -> metrics.Metrics:
        return metrics.read(httpx.get(f"http://127.0.0.1:{self.port}/metrics").text)

    def up(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def vllm(engines: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """Real vLLM on one core, without weights: it needs half a minute to be ready."""
    folder = tmp_path_factory.mktemp("vllm")
    model(folder / "hf")
    environment = {
        **engines_venv.environment(),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }
    found = Vllm(free_port(), environment, folder / "log")
    command = f"serve {tiny_model.NAME} --load-format dummy --dtype float32 --enforce-eager"
    address = f"--host 127.0.0.1 --port {found.port}"
    with found.log.open("wb") as log:
        process = subprocess.Popen(
            [engines_venv.program("vllm"), *command.split(), *address.split()],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: process.poll() is not None or found.up(), seconds=240)
        assert process.poll() is None, found.log.read_text()[-3000:]
        yield found
    finally:
        process.terminate()
        process.wait(60)


def sweep(vllm: Vllm, folder: Path, *more: str) -> Run:
    """Our own benchmark; it must succeed."""
    endpoint = f"http://127.0.0.1:{vllm.port}"
    lengths = ["--input-tokens", "300", "--output-tokens", "24", "--requests", "16"]
    command = ["bench", "sweep", "--endpoint", endpoint, "--levels", "4", *lengths]
    assert app.run([*command, "--output", str(folder), *more]) == 0
    (path,) = folder.glob("*.json")
    return files.load(path)


def agrees(client: Spread | None, server: float | None, *, late: float) -> None:
    """A mean by the client's clock and the server's own of the very same requests.

    The client sees everything a little later; `late` seconds allow for a busy machine.
    """
    assert client is not None
    assert server is not None
    assert 0.9 * server <= client.mean <= 1.15 * server + late


def test_the_prompts_are_exact_and_no_cache_answers(vllm: Vllm, tmp_path: Path) -> None:
    before = vllm.metrics()
    found = sweep(vllm, tmp_path)
    assert found.prompts == "tokens counted by the server's /tokenize"
    (level,) = found.levels
    assert {request.prompt_tokens for request in level.requests} == {300}
    assert {request.output_tokens for request in level.requests} == {24}
    assert (level.cached_tokens, level.looked_up) == (0, 16 * 300)
    warm_up = 4 * 24
    assert metrics.generated(before, vllm.metrics()) == 16 * 24 + warm_up
    assert level.notes == () or all("later than" in note for note in level.notes)


def test_prompts_of_before_are_found_in_the_cache_and_that_is_said(
    vllm: Vllm, tmp_path: Path
) -> None:
    first, second = (sweep(vllm, tmp_path / name, "--salt", "the same") for name in "ab")
    assert first.levels[0].cached_tokens == 0
    assert (second.levels[0].cached_tokens or 0) > 1000
    assert any("the prefix cache answered" in note for note in second.levels[0].notes)


def test_it_and_vllm_bench_serve_measure_what_the_server_does(vllm: Vllm, tmp_path: Path) -> None:
    """Both clients, one after the other, on the same server."""
    ours = sweep(vllm, tmp_path / "ours")
    (level,) = ours.levels
    agrees(level.summary.ttft, level.server_ttft, late=0.1)
    agrees(level.summary.itl, level.server_itl, late=0.01)

    chosen = Settings("sweep", (4,), 300, 24, ours.run, requests=16, warm_up=0)
    write(tmp_path / "bin/docker", DOCKER).chmod(0o755)
    script = vllm_serve.script(
        "vllm-head",
        vllm.port,
        Server(endpoint="", model=tiny_model.NAME),
        chosen,
        steps(chosen),
        scratch=str(tmp_path / "scratch"),
    )
    before = vllm.metrics()
    done = subprocess.run(
        ["sh", "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        env={
            **vllm.environment,
            "PATH": f"{tmp_path / 'bin'}:{vllm.environment['PATH']}",
            "NO_PROXY": "*",
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        },
    )
    after = vllm.metrics()
    reader = vllm_serve.Reader()
    results = [data for line in done.stdout.split("\n") if (data := reader.read(line)) is not None]
    (data,) = results or [pytest.fail(done.stderr[-3000:])]
    theirs = vllm_serve.as_run(data, "theirs")
    summary = theirs.levels[0].summary
    assert (summary.ok, summary.failed) == (16, 0)
    assert (theirs.arguments["input_tokens"], theirs.arguments["output_tokens"]) == (300, 24)
    agrees(summary.ttft, _mean(before, after, "ttft"), late=0.1)
    agrees(summary.itl, _mean(before, after, "itl"), late=0.01)

    found = compare(ours, theirs)
    assert {row.level for row in found.rows} == {"c=4"}
    assert all(row.low is not None for row in found.rows)
    assert "differs: tool: spark-cluster bench in A, vllm bench serve in B" in found.notes


def test_what_users_need_of_the_real_server(vllm: Vllm, capsys: pytest.CaptureFixture[str]) -> None:
    """A model without sense in its weights answers, streams and is cancelled; a server that was
    started without a parser of tools refuses them in its own words."""
    endpoint = f"http://127.0.0.1:{vllm.port}"
    capsys.readouterr()
    code = app.run(["check", "--endpoint", endpoint, "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {line["check"]: line for line in lines if line["kind"] == "check"}
    results = {name: each["result"] for name, each in found.items() if name != "json"}
    assert results == {
        **dict.fromkeys(("chat", "stream", "long", "too-long", "together", "cancel"), "ok"),
        "tools": "failed",
        "reasoning": "skipped",
        "image": "skipped",
    }, lines
    assert "requires --enable-auto-tool-choice" in found["tools"]["what"]
    assert "--tool-call-parser NAME" in found["tools"]["next"]
    assert "not a multimodal model" in found["image"]["what"]
    assert found["long"]["prompt_tokens"] >= 921
    assert "maximum context length is 1024 tokens" in found["too-long"]["what"]
    # No token of its vocabulary writes JSON: xgrammar finds no word, and the server says 500.
    assert found["json"]["result"] == "failed"
    assert code == 4


def _mean(before: metrics.Metrics, after: metrics.Metrics, name: str) -> float:
    """Of the histogram's growth."""
    total, count = (
        getattr(after, f"{name}_{part}") - getattr(before, f"{name}_{part}")
        for part in ("sum", "count")
    )
    return float(total / count)

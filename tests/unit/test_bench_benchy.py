"""llama-benchy's JSON as it is read, and a tool in its place that misbehaves.

data/bench/llama-benchy-0.4.0.json was written by that release against a small server of ours;
tests/contract/test_bench_benchy.py runs the real one.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.bench import llama_benchy
from spark_cluster.bench.llama_benchy import BenchySettings, Metric, command, rows
from spark_cluster.bench.results import Run
from spark_cluster.core.error import InputError
from tests.command_line import Cli, Said
from tests.contract.bench_server import MODEL, BenchServer

from .test_json import checked
from .world import DATA

RECORDED = (DATA / "bench/llama-benchy-0.4.0.json").read_text()


def metric(mean: float) -> dict[str, Any]:
    return {"mean": mean, "std": 0.5, "values": [mean, mean]}


#: The documented shape: a context of 4096 before a prompt of 2048, two at once.
DOCUMENTED = {
    "benchmarks": [
        {
            "concurrency": 2, "context_size": 4096, "prompt_size": 2048, "response_size": 32,
            "pp_throughput": metric(900.0), "tg_throughput": metric(40.0),
            "peak_throughput": metric(44.0), "ttfr": metric(1500.0), "e2e_ttft": metric(1600.0),
        }
    ]
}  # fmt: skip


def test_a_recorded_result() -> None:
    one, two = rows(RECORDED, "")
    assert (one.name, two.name) == ("pp32 tg8 (c1)", "pp32 tg8 (c2)")
    assert llama_benchy.version(RECORDED) == "0.4.0"
    data = json.loads(RECORDED)["benchmarks"][1]
    assert two.decode_all is not None
    assert two.decode is not None
    assert two.ttft is not None
    assert two.decode_all.mean == data["tg_throughput"]["mean"]
    assert two.decode.mean == data["tg_req_throughput"]["mean"]
    assert two.ttft.mean == pytest.approx(data["e2e_ttft"]["mean"] / 1000)
    assert two.ttft.runs == 4


def test_the_documented_shape() -> None:
    (row,) = rows(json.dumps(DOCUMENTED), "")
    assert row.name == "pp2048 tg32 @ d4096 (c2)"
    assert (row.prefill, row.peak) == (Metric(900.0, 0.5, 2), Metric(44.0, 0.5, 2))
    assert row.ttft == Metric(1.6, 0.0005, 2)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"benchmarks": 3}', "nonsense"])
def test_what_is_no_result(text: str) -> None:
    with pytest.raises(InputError) as error:
        rows(text, "f.json")
    assert error.value.place == "f.json"


@pytest.mark.parametrize("mean", [None, "9", True, -1.0, float("inf"), 1e300, [], {}])
def test_numbers_that_are_none(mean: object) -> None:
    text = json.dumps({"benchmarks": [{"tg_throughput": {"mean": mean}, "concurrency": mean}, 7]})
    (row,) = rows(text, "")
    assert (row.decode, row.concurrency) == (None, 0)
    assert next(iter(llama_benchy.table([row])))[1:] == ("-",) * 7


def our_run(kind: str, **arguments: int) -> Run:
    spread = {"p50": 0.1, "p95": 0.1, "p99": 0.1, "mean": 0.1}
    summary = {
        "ok": 8, "failed": 0, "prompt_tokens": 1, "output_tokens": 1, "requests_per_second": 1.0,
        "prompt_per_second": 1.0, "output_per_second": 1.0, "ttft": spread, "tpot": spread,
        "prefill_per_second": {**spread, "mean": 640.0},
    }  # fmt: skip
    level = {
        "name": "one", "value": 6144, "concurrency": 2, "seconds": 1.0, "summary": summary
    }  # fmt: skip
    server = {"endpoint": "", "model": MODEL}
    return Run.model_validate(
        {
            "program": "", "kind": kind, "run": "r", "started": "", "ended": "", "server": server,
            "arguments": arguments, "levels": (level,),
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "arguments", "found"),
    [
        ("sweep", {"input_tokens": 6144, "output_tokens": 32}, True),
        ("sweep", {"input_tokens": 6144, "output_tokens": 64}, False),
        ("sweep", {"input_tokens": 2048, "output_tokens": 32}, False),
        ("prefill", {}, True),
    ],
)
def test_ours_is_beside_what_was_measured_alike(
    kind: str, arguments: dict[str, int], found: bool
) -> None:
    (row,) = rows(json.dumps(DOCUMENTED), "")
    ours = llama_benchy.beside(row, our_run(kind, **arguments))
    assert (ours is not None) == found
    if ours is not None:
        assert (ours.prefill, ours.decode, ours.ttft) == (640.0, 10.0, 0.1)


def test_its_command_line() -> None:
    settings = BenchySettings((2048,), (32, 64), (0, 4096), (1, 2), 3, ("--no-warmup",))
    words = command("/bin/llama-benchy", "http://h:1", "org/model", MODEL, "", settings, "f.json")
    assert " ".join(words) == (
        "/bin/llama-benchy --base-url http://h:1/v1 --model org/model --served-model-name served "
        "--pp 2048 --tg 32 64 --depth 0 4096 --concurrency 1 2 --runs 3 --exact-tg --no-cache "
        "--format json --save-result f.json --no-warmup"
    )
    assert "--api-key k" in " ".join(command("p", "", "", "", "k", settings, ""))


# A program in its place


@pytest.fixture
def server() -> Iterator[BenchServer]:
    server = BenchServer()
    yield server
    server.close()


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A llama-benchy on the path that does what a test writes into it."""
    program = tmp_path / "bin/llama-benchy"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def script(tool: Path, body: str) -> None:
    """`$file` is what --save-result names."""
    tool.write_text(
        '#!/bin/sh\nwhile [ $# -gt 0 ]; do [ "$1" = --save-result ] && file=$2; shift; done\n'
        + body
    )
    tool.chmod(0o755)


def ran(cli: Cli, server: BenchServer, *words: str) -> Said:
    return cli("bench", "llama-benchy", "--endpoint", server.url, *words)


def test_a_result_is_shown_beside_ours(
    cli: Cli, server: BenchServer, tool: Path, tmp_path: Path
) -> None:
    documented = tmp_path / "documented.json"
    documented.write_text(json.dumps(DOCUMENTED))
    script(tool, f'echo Warming up...\ncp {documented} "$file"\n')
    ours = tmp_path / "ours.json"
    ours.write_text(our_run("sweep", input_tokens=6144, output_tokens=32).model_dump_json())
    said = ran(cli, server, "--beside", str(ours))
    assert said.code == 0, said.out + said.err
    row = next(line for line in said.out.splitlines() if line.startswith("pp2048 tg32"))
    told = ["900.0", "±", "0.5", "640.0", "40.0", "±", "0.5", "10.0", "40.0", "±", "0.5"]
    assert row.split()[5:] == [*told, "1.600", "±", "0.001", "0.100"]
    assert "results: benchmark_results/" in said.out
    assert "llama_benchy" in checked(ran(cli, server, "--json").lines)


def test_a_tool_that_is_not_there(
    cli: Cli, server: BenchServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = ran(cli, server)
    assert said.code == 1
    assert "error: llama-benchy is not installed" in said.err
    assert "next: Install it: `pipx install llama-benchy`" in said.err
    assert not Path("benchmark_results").exists()


def test_a_tool_that_fails(cli: Cli, server: BenchServer, tool: Path) -> None:
    script(tool, "echo no such option >&2\nexit 2\n")
    said = ran(cli, server)
    assert said.code == 1
    assert "llama-benchy ended with 2 and left no result" in said.err
    assert "    | no such option" in said.err


def test_what_a_failing_tool_kept_is_shown(cli: Cli, server: BenchServer, tool: Path) -> None:
    script(tool, f"cat >\"$file\" <<'END'\n{json.dumps(DOCUMENTED)}\nEND\nexit 1\n")
    said = ran(cli, server)
    assert said.code == 1
    assert "pp2048 tg32 @ d4096 (c2)" in said.out
    assert "It failed on the way: what it had stands above." in said.out


def test_an_interrupt_lets_it_save(cli: Cli, server: BenchServer, tool: Path) -> None:
    script(
        tool, "trap 'echo kept >\"$file\"; exit 1' INT\necho begun\nwhile :; do sleep 0.1; done\n"
    )
    stop = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    stop.start()
    begun = time.monotonic()
    said = ran(cli, server)
    assert said.code == 130
    assert time.monotonic() - begun < 15
    (file,) = Path("benchmark_results").glob("*-llama-benchy.json")
    assert f"What it had is in {file}." in said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("recipe",), "a recipe and --endpoint do not go together"),
        (("--pp", "many"), "--pp many"),
        (("--api-key-env", "NO_SUCH_KEY"), "NO_SUCH_KEY: the variable is not set"),
        (("--beside", "no-such.json"), "no-such.json: cannot be read"),
    ],
)
def test_what_does_not_go_together(
    cli: Cli, server: BenchServer, tool: Path, words: tuple[str, ...], told: str
) -> None:
    script(tool, "exit 0\n")
    said = ran(cli, server, *words)
    assert said.code == 2
    assert told in said.err

"""The hosts of a benchmark: what is read beside a level; `vllm bench serve` in a container."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.bench import vllm_serve
from spark_cluster.bench.host_samples import HostFacts, Sampler, figures
from spark_cluster.bench.plan import Settings, steps
from spark_cluster.bench.results import Server
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.facts.rdma import COUNTERS
from spark_cluster.rdma.evidence import Rail, Rank
from spark_cluster.rdma.volume import Need

from . import world
from .cases import write

RECORDED = Path(__file__).parent / "data/bench/vllm-bench-0.32.json"
RAIL = Rail("rocep1s0f1", "enp1s0f1np1")
RANKS = (Rank("spark-2", 0, (RAIL,), Need(1e6, 1e6)), Rank("spark-3", 1, (RAIL,), Need(1e6, 1e6)))


def reading(host: str, *, units: int = 0, gpu: str = "") -> Facts:
    """Counters after `units` of four octets, and what nvidia-smi says."""
    counters = world.moved(world.healthy("counters", host), "rocep1s0f1", units)
    return Facts({"counters": COUNTERS.parse(counters), "gpu-state": GPU_STATE.parse(gpu)})


def power(watts: str) -> Facts:
    return reading("spark-2", gpu=f"state,2100, 3003, {watts}, 96, 60, 0x0\n")


def test_a_level_has_what_each_rank_moved_per_token() -> None:
    before = {rank.host: reading(rank.host) for rank in RANKS}
    after = {"spark-2": reading("spark-2", units=250_000), "spark-3": reading("spark-3")}
    samples = [{"spark-2": power("61.5")}, {"spark-2": power("[N/A]")}, {"spark-2": power("64")}]
    head, worker = figures(RANKS, before, after, samples, 100)
    (rail,) = head.rails
    assert (rail.device, rail.unit, rail.tx, rail.tx_per_token) == (
        "rocep1s0f1", "B", 1_000_000, 10_000.0,
    )  # fmt: skip
    assert (head.watts, head.sm_mhz) == ((61.5, 64.0), (2100.0, 2100.0, 2100.0))
    assert (worker.rails[0].tx, worker.watts, worker.problem) == (0, (), "")


def test_a_host_that_was_lost_is_named_and_has_no_figures() -> None:
    before = {rank.host: reading(rank.host) for rank in RANKS}
    head, worker = figures(RANKS, before, {"spark-2": reading("spark-2")}, [], 100)
    assert head.problem == ""
    assert worker.problem == "its counters could not be read before and after"
    assert (worker.rails[0].tx, worker.rails[0].note) == (None, "not read")


def test_a_level_without_tokens_divides_by_nothing() -> None:
    facts = {rank.host: reading(rank.host) for rank in RANKS}
    (head, _) = figures(RANKS, facts, facts, [], 0)
    assert head.rails[0].tx_per_token is None


def test_the_sampler_reads_counters_twice_and_power_between() -> None:
    asked: list[tuple[str, ...]] = []
    sampled = threading.Event()

    def read(facts: Sequence[Fact[object]]) -> HostFacts:
        asked.append(tuple(fact.name for fact in facts))
        if asked.count(("gpu-state",)) >= 2:
            sampled.set()
        return {rank.host: power("60") for rank in RANKS}

    sampler = Sampler(read, RANKS, 0.01)
    for _ in range(2):  # a second level begins anew
        asked.clear()
        sampled.clear()
        sampler.begin()
        assert sampled.wait(30)
        head, _ = sampler.end(100)
        assert (asked[0], asked[-1]) == (("counters",), ("counters",))
        assert set(asked[1:-1]) == {("gpu-state",)}
        assert head.watts == (60.0,) * (len(asked) - 2)
    sampler.stop()
    sampler.stop()


# vllm bench serve

SETTINGS = Settings("sweep", (2, 4), input_tokens=64, output_tokens=32, salt="it's")
SERVER = Server(endpoint="", model="served name", root="org/model")

#: Plays docker: `exec NAME PROGRAM …` runs the stand-in of that program.
DOCKER = """#!/bin/sh
[ "$1" = exec ] || exit 64
echo "$*" >>"$CALLS"
shift 2
exec "$@"
"""

#: Plays vllm: writes the recorded result under the name that it is given.
VLLM = """#!/bin/sh
case "$*" in *--help=all*) echo "options: $KNOWN"; exit 0 ;; esac
echo "$0 says hello on standard output"
printf '%s\\n' "$@" >>"$ARGUMENTS"
while [ $# -gt 0 ]; do
  case $1 in --result-dir) dir=$2 ;; --result-filename) name=$2 ;; --max-concurrency) c=$2 ;; esac
  shift
done
[ -z "$HANGS" ] || { echo >"$HANGS"; exec sleep 600; }
[ "$c" != "$FAILS" ] || { echo 'ValueError: no such model' >&2; exit 1; }
sed "s/\\"max_concurrency\\": 2/\\"max_concurrency\\": $c/" "$RECORDED" >"$dir/$name"
"""


class Container:
    """The script of a benchmark, run by a real shell against stand-ins."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, text in (("docker", DOCKER), ("vllm", VLLM)):
            write(root / "bin" / name, text).chmod(0o755)

    def start(
        self, known: str = "--num-warmups N", fails: str = "", hangs: str = ""
    ) -> subprocess.Popen[str]:
        script = vllm_serve.script(
            "vllm-head", 8000, SERVER, SETTINGS, steps(SETTINGS), scratch=f"{self.root}/bench"
        )
        return subprocess.Popen(
            ["sh", "-c", script],
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
                "CALLS": str(self.root / "calls"),
                "ARGUMENTS": str(self.root / "arguments"),
                "RECORDED": str(RECORDED),
                "KNOWN": known,
                "FAILS": fails,
                "HANGS": hangs,
            },
        )

    def run(self, **options: str) -> tuple[str, str]:
        """What the script printed, and its errors."""
        return self.start(**options).communicate(timeout=60)

    @property
    def arguments(self) -> list[str]:
        return (self.root / "arguments").read_text().splitlines()


def results(output: str) -> dict[int, Any]:
    """The result of each level by its value."""
    reader = vllm_serve.Reader()
    found = ((reader.read(line), reader.level) for line in output.split("\n"))
    return {level: data for data, level in found if data is not None and level is not None}


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def test_each_level_is_run_and_its_result_read(container: Container) -> None:
    output, errors = container.run()
    found = results(output)
    assert list(found) == [2, 4]
    assert all("generated_texts" not in data for data in found.values())
    levels = [vllm_serve.as_level(data) for data in found.values()]
    assert [(level.name, level.summary.ok) for level in levels] == [("c=2", 8), ("c=4", 8)]
    assert "says hello" in errors  # the benchmark's own words do not get between
    assert [vllm_serve.progress(line) for line in output.splitlines()].count(4) == 1
    assert sorted(path.name for path in container.root.glob("bench*")) == ["bench.pid"]


def test_it_gets_the_settings_of_the_run(container: Container) -> None:
    container.run()
    words = container.arguments
    for pair in (
        ["--model", "org/model"],
        ["--served-model-name", "served name"],
        ["--base-url", "http://127.0.0.1:8000"],
        ["--random-input-len", "64"],
        ["--random-output-len", "32"],
        ["--max-concurrency", "4"],
        ["--num-prompts", "16"],
        ["--num-warmups", "4"],
    ):
        assert pair in [words[at : at + 2] for at in range(len(words))], pair
    seeds = {words[at + 1] for at, word in enumerate(words) if word == "--seed"}
    assert len(seeds) == 2  # no level's prompts are in the cache from the level before


def test_a_version_that_knows_no_warm_up_gets_none(container: Container) -> None:
    assert list(results(container.run(known="--seed")[0])) == [2, 4]
    assert "--num-warmups" not in container.arguments
    assert "" not in container.arguments


def test_a_level_that_failed_has_no_result_and_its_words_are_kept(container: Container) -> None:
    output, errors = container.run(fails="2")
    assert list(results(output)) == [4]
    assert "ValueError: no such model" in errors


def test_a_script_that_is_stopped_ends_the_process_in_the_container(container: Container) -> None:
    mark = container.root / "running"
    running = container.start(hangs=str(mark))
    eventually(mark.exists, "the benchmark runs")
    inside = (container.root / "bench.pid").read_text().strip()
    assert runs(inside)
    running.terminate()
    assert running.wait(30) == 143
    eventually(lambda: not runs(inside), "the benchmark has ended")
    running.communicate(timeout=30)


def runs(pid: str) -> bool:
    """Not one that has ended either and waits for its parent, as in a container without an init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize(
    "output",
    ["", "{}", "@@vllm-bench level x\n{}", "@@vllm-bench level 2\n{nonsense\n{}\n[1]"],
)
def test_output_without_results(output: str) -> None:
    assert results(output) == {}


def test_a_result_needs_its_level_before_it() -> None:
    text = json.dumps(json.loads(RECORDED.read_text()))
    assert results(text) == {}
    assert list(results(f"@@vllm-bench level 2\n{text}")) == [2]

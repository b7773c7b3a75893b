"""`bench` on a cluster of ours, with its hosts beside, and on the lab's `vllm serve`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spark_cluster.core.error import StateUnknown, Unreachable
from tests.fake_transport import FakeConnection, failed
from tests.unit import world
from tests.unit.test_engine_standin_cluster import BIN, Cluster
from tests.unit.world import Spark

from .bench_cli import Bench, Start
from .sshd_server import eventually

pytestmark = pytest.mark.contract
RECORDED = Path(world.__file__).parent / "data/bench/vllm-bench-0.32.json"


# A cluster of ours


@pytest.fixture
def inventory(tmp_path: Path) -> Callable[[int], str]:
    """The shipped inventory, its API behind a port of loopback."""

    def write(port: int) -> str:
        data = yaml.safe_load(world.inventory().path.read_text())
        data["hosts"]["spark-2"]["api"] = f"127.0.0.1:{port}"
        path = tmp_path / "sparks.yaml"
        path.write_text(yaml.safe_dump(data))
        return str(path)

    return write


def serving() -> list[Spark]:
    names = ("spark-1", "spark-2", "spark-3")
    return [
        Spark(name, {"containers": world.running(name)} if name in world.PAIR else None)
        for name in names
    ]


GPU = "state,2100, 3003, {}, 96, 60, 0x0\n"


def test_a_recipe_that_runs_has_its_hosts_beside_each_level(
    bench: Bench, start: Start, inventory: Callable[[int], str]
) -> None:
    hosts = serving()
    server = start(first=0.7, gap=0.1)

    def on_token() -> None:
        for host in hosts[1:]:
            host.texts["counters"] = world.moved(host.texts["counters"], "rocep1s0f1", 1000)

    server.on_token = on_token
    for host, watts in zip(hosts[1:], ("60", "84.5"), strict=True):
        host.texts["gpu-state"] = GPU.format(watts)
    said = bench("sweep", world.RECIPE, "-i", inventory(server.port), "--levels", "1,2",
                 "--requests", "2", "--input-tokens", "12", "--output-tokens", "8",
                 "--warm-up", "0", "--sample", "0.5", hosts=hosts)  # fmt: skip
    assert said.code == 0, said.err
    for level in said.result.levels:
        head, worker = level.hosts
        assert (head.host, head.rank, worker.host, worker.rank) == ("spark-2", 0, "spark-3", 1)
        # 4000 bytes a generated token, 8 of 20 tokens that passed the layers.
        (rail,) = [rail for rail in head.rails if rail.tx]
        assert (rail.device, rail.tx_per_token) == ("rocep1s0f1", 1600.0)
        assert set(head.watts) == {60.0}
        assert set(worker.watts) == {84.5}
        assert len(head.watts) >= 1
    assert "RDMA/token" in said.out
    assert "1.56 KiB" in said.out
    assert "144" in said.out  # W together, rounded to even
    assert said.result.deployment["recipe"] == world.RECIPE
    assert said.result.recipe["args"]["gpu-memory-utilization"]["value"] == "0.70"
    assert set(said.result.hosts) == set(world.PAIR)
    # One connection; one look at all, then the group only: two readings a level and the samples.
    assert [host.connections for host in hosts] == [1, 1, 1]
    samples = sum(len(level.hosts[0].watts) for level in said.result.levels)
    assert [host.execs for host in hosts] == [1, 1 + 2 * 2 + samples, 1 + 2 * 2 + samples]


def test_the_recipe_tells_which_of_two_servers_is_meant(
    bench: Bench, start: Start, inventory: Callable[[int], str]
) -> None:
    hosts = serving()
    later = world.running("spark-2").replace('"spark-2,spark-3"', '"spark-1"')
    later = later.replace(world.RECIPE, "another").replace(world.RUN, "20261122-031500-9f3a")
    hosts[0].texts["containers"] = later
    said = bench("sweep", world.RECIPE, "-i", inventory(start().port), "--levels", "1",
                 "--input-tokens", "8", "--output-tokens", "4", "--warm-up", "0",
                 hosts=hosts)  # fmt: skip
    assert said.code == 0, said.err
    assert set(said.result.hosts) == set(world.PAIR)


def test_a_host_that_dies_meanwhile_leaves_the_others_figures(
    bench: Bench, start: Start, inventory: Callable[[int], str]
) -> None:
    hosts = serving()
    server = start()

    def on_token() -> None:
        gone = Unreachable("spark-3: the connection broke", host="spark-3", remedy="Look.")
        hosts[2].on(world.MARK, gone)

    server.on_token = on_token
    said = bench("sweep", "-i", inventory(server.port), "--levels", "1", "--input-tokens", "8",
                 "--output-tokens", "4", "--warm-up", "0", hosts=hosts)  # fmt: skip
    assert said.code == 0
    (level,) = said.result.levels
    assert [host.problem for host in level.hosts] == [
        "", "its counters could not be read before and after",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "running", "code", "says"),
    [
        (None, False, 4, "no server of ours runs on spark-1, spark-2, spark-3"),
        (world.RECIPE, False, 4, f"spark-cluster launch {world.RECIPE}"),
        ("qwen3-32b-fp8", True, 4, "spark-2 serves qwen3-vl-235b, not qwen3-32b-fp8"),
        ("nonsense", True, 2, "there is no recipe 'nonsense'"),
    ],
)
def test_what_does_not_run_is_not_measured(
    bench: Bench,
    inventory: Callable[[int], str],
    recipe: str | None,
    running: bool,
    code: int,
    says: str,
) -> None:
    hosts = serving() if running else world.sparks()
    given = [recipe] if recipe else []
    said = bench("sweep", *given, "-i", inventory(1), hosts=hosts)
    assert said.code == code
    assert says in said.err


def test_vllm_bench_serve_in_the_heads_container(
    bench: Bench, start: Start, inventory: Callable[[int], str]
) -> None:
    hosts = serving()
    recorded = json.dumps(json.loads(RECORDED.read_text()))
    hosts[1].on("vllm bench serve", f"@@vllm-bench level 2\n{recorded}\n@@vllm-bench end\n")
    server = start()
    said = bench("sweep", "--vllm", "--levels", "2", "-i", inventory(server.port), hosts=hosts)
    assert said.code == 0, said.err
    assert said.result.tool == "vllm bench serve"
    assert said.result.levels[0].summary.ok == 8
    assert said.result.arguments["input_tokens"] == 128
    assert hosts[1].execs == 2  # the look, and the benchmark
    assert server.asked == []  # the load is not ours


def test_vllm_bench_serve_that_fails_is_told_with_its_words(
    bench: Bench, start: Start, inventory: Callable[[int], str]
) -> None:
    hosts = serving()
    hosts[1].on("vllm bench serve", failed(1, "ModuleNotFoundError: No module named 'pandas'\n"))
    said = bench("sweep", "--vllm", "--levels", "2", "-i", inventory(start().port), hosts=hosts)
    assert said.code == 1
    assert "spark-2: `vllm bench serve` gave no result for c=2" in said.err
    assert "No module named 'pandas'" in said.err


def test_a_level_of_vllm_that_fails_drops_no_other(
    bench: Bench, start: Start, inventory: Callable[[int], str]
) -> None:
    hosts = serving()
    recorded = json.dumps(json.loads(RECORDED.read_text()))
    out = [f"@@vllm-bench level {level}\n{recorded if level != 2 else ''}" for level in (1, 2, 4)]
    said = failed(0, "CUDA out of memory\n", "\n".join([*out, "@@vllm-bench end\n"]))
    hosts[1].on("vllm bench serve", said)
    given = ("--levels", "1,2,4", "--requests", "3", "-i", inventory(start().port))
    found = bench("sweep", "--vllm", *given, hosts=hosts)
    assert found.code == 1
    assert "spark-2: `vllm bench serve` gave no result for c=2" in found.err
    assert "CUDA out of memory" in found.err
    assert "The levels that are over are in benchmark_results/" in found.err
    assert [level.name for level in found.result.levels] == ["c=1", "c=4"]
    assert "no result: c=2" in found.result.notes
    assert not found.result.interrupted
    assert found.result.levels[1].notes == (
        "4 requests instead of --requests 3: at least one for each at once",
    )


def test_levels_of_vllm_are_kept_as_they_come(
    bench: Bench, start: Start, inventory: Callable[[int], str]
) -> None:
    """The head is lost under the second level."""
    hosts = serving()
    recorded = json.dumps(json.loads(RECORDED.read_text()))
    run = FakeConnection.run

    def cut(*arguments: Any, on_line: Any = None, **more: Any) -> Any:
        done = run(*arguments, on_line=on_line, **more)
        if on_line is not None:
            raise StateUnknown("the connection broke", remedy="Look.")
        return done

    hosts[1].on("vllm bench serve", f"@@vllm-bench level 1\n{recorded}\n@@vllm-bench level 2\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeConnection, "run", cut)
        found = bench("sweep", "--vllm", "--levels", "1,2", "-i", inventory(start().port),
                      hosts=hosts)  # fmt: skip
    assert found.code == 3
    assert "The levels that are over are in benchmark_results/" in found.err
    assert [level.name for level in found.result.levels] == ["c=1"]
    assert found.result.interrupted


def test_what_was_launched_is_in_the_results(
    bench: Bench, start: Start, inventory: Callable[[int], str]
) -> None:
    hosts = serving()
    text = hosts[1].texts["containers"]
    short = ["-i", "", "--levels", "1", "--input-tokens", "8", "--output-tokens", "4",
             "--warm-up", "0"]  # fmt: skip
    runs = []
    for options in ("pp", "gone"):
        more = f'{{"spark-cluster.options":"{options}",'
        hosts[1].texts["containers"] = text.replace("{", more, 1)
        short[1] = inventory(start().port)
        runs.append(bench("sweep", *short, hosts=hosts))
        assert runs[-1].code == 0, runs[-1].err
    first, second = (said.result for said in runs)
    assert first.recipe["args"]["pipeline-parallel-size"]["value"] == 2
    assert second.recipe == {}
    assert "not known here: qwen3-vl-235b has no option 'gone'" in runs[1].out


def test_a_folder_that_cannot_be_written_is_told_before_any_host_is_asked(bench: Bench) -> None:
    Path("taken").write_text("")
    hosts = serving()
    said = bench("sweep", "--output", "taken/results", hosts=hosts)
    assert said.code == 1
    assert "could not be written to taken/results: Not a directory" in said.err
    assert [host.connections for host in hosts] == [0, 0, 0]


# The lab's `vllm serve`


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Cluster]:
    """The stand-in on one node, ready to be asked."""
    (tmp_path / "standin").mkdir()
    cluster = Cluster(tmp_path / "standin")
    try:
        argv = [str(BIN / "vllm"), "serve", "org/name", "--host", "127.0.0.1"]
        cluster.start("vllm", [*argv, "--port", str(cluster.api)], "127.0.0.1")
        cluster.serving()
        yield cluster
    finally:
        cluster.close()


def test_a_sweep_of_the_labs_server(bench: Bench, standin: Cluster) -> None:
    said = bench("sweep", "--endpoint", f"127.0.0.1:{standin.api}", "--levels", "1,8",
                 "--input-tokens", "40", "--output-tokens", "16")  # fmt: skip
    assert said.code == 0, said.err
    assert said.result.server.owned_by == "spark-lab"
    assert said.result.server.max_model_len == 4096
    measured = 0
    for level, requests in zip(said.result.levels, (8, 32), strict=True):
        assert level.summary.ok == requests
        assert {request.output_tokens for request in level.requests} == {16}
        # By its own metrics: what it was asked, and that no cache answered.
        assert level.looked_up == level.summary.prompt_tokens
        assert level.cached_tokens in (0, None)
        assert level.server_ttft is not None
        assert level.summary.ttft is not None
        assert level.server_ttft <= level.summary.ttft.mean
        measured += level.summary.output_tokens
    warm_up = (1 + 8) * 16
    assert standin.metric("vllm:generation_tokens_total") == measured + warm_up


def test_a_server_that_dies_meanwhile(bench: Bench, standin: Cluster) -> None:
    """Its requests break off, the next ones are refused or cut, and the rest is not sent."""
    cut = {"connection refused", "connection reset by peer", "the connection broke off",
           "broken pipe"}  # fmt: skip

    def kill() -> None:
        eventually(lambda: standin.metric("vllm:generation_tokens_total") > 32, seconds=60)
        standin.processes["vllm"].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    said = bench("sweep", "--endpoint", f"127.0.0.1:{standin.api}", "--levels", "4",
                 "--requests", "2000", "--input-tokens", "16", "--output-tokens", "16",
                 "--warm-up", "0")  # fmt: skip
    killer.join()
    assert said.code == 1
    (level,) = said.result.levels
    assert level.summary.ok + level.summary.failed + level.unsent == 2000
    assert level.unsent > 0
    assert level.summary.failed > 0
    assert set(level.summary.errors) <= cut
    assert "requests were not sent" in said.out

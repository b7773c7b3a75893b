"""bench ab over fake hosts and a small real server: both sides, what is kept, what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.actions.bench_ab import SideStarted
from spark_cluster.actions.bench_kept import LevelEnded
from spark_cluster.bench import ab, files
from spark_cluster.bench.compare import Comparison, Row, Verdict
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes import loader as recipes
from spark_cluster.recipes import overlay
from spark_cluster.recipes.choose import choose
from spark_cluster.recipes.overrides import Overrides, override
from tests.command_line import Cli, Said
from tests.contract.bench_server import BenchServer

from . import switched, world
from .cases import write
from .switched import RECIPE
from .test_json import checked
from .world import Spark

PAIR = ("spark-2", "spark-3")
CHANGE = ("--arg", "max-num-seqs=64")
LOAD = ("--levels", "1", "--requests", "8", "--warm-up", "0", "--output-tokens", "4")


@pytest.fixture
def server() -> Iterator[BenchServer]:
    server = BenchServer()
    yield server
    server.close()


@pytest.fixture
def inventory(tmp_path: Path, server: BenchServer) -> Inventory:
    """The switch, its head's API being the server."""
    text = switched.SWITCH.replace(
        "  spark-2:\n", f"  spark-2:\n    api: 127.0.0.1:{server.port}\n", 1
    )
    return inventories.load(write(tmp_path / "switch.yaml", text))


def sides(inventory: Inventory, on_b: Callable[[], None] = lambda: None) -> list[Spark]:
    """Hosts on which A and B can be launched; `on_b` is called when B's head starts."""
    a = switched.made(inventory, PAIR)
    b = switched.made(inventory, PAIR, overrides=Overrides.typed(args=CHANGE[1:]))
    hosts = []
    for name in PAIR:
        host = switched.able(name, a)
        for made in (a, b):
            host.effect(made.container(name).digest, containers=switched.runs(made, name))
        hosts.append(host)
    digest, told = b.container("spark-2").digest, hosts[0].probe

    def probe(script: str) -> str:
        if "docker run" in script and digest in script:
            on_b()
        return told(script)

    hosts[0].on(world.MARK, probe)
    return [*hosts, Spark("spark-1")]


def ran(cli: Cli, inventory: Inventory, hosts: list[Spark], *words: str) -> Said:
    return cli("bench", "ab", RECIPE, *words, *LOAD, "-i", str(inventory.path), hosts=hosts)


def commands(host: Spark) -> list[str]:
    """docker's own that change something, in order."""
    found = ("docker run", "docker rm --force")
    return [word for text in host.changes for word in found if word in text]


def test_both_sides_are_launched_measured_and_compared(cli: Cli, inventory: Inventory) -> None:
    hosts = sides(inventory)
    said = ran(cli, inventory, hosts, *CHANGE)
    assert said.code == 0, said.out + said.err
    assert commands(hosts[0]) == ["docker run", "docker rm --force", "docker run"]
    assert "A: as the recipe is" in said.out
    assert "B: --arg max-num-seqs=64" in said.out
    assert "c=1" in said.out
    assert "B / A of tok/s c=1 " in said.out
    assert said.out.count("verdict rdma; results: benchmark_results/") == 2
    assert f"`spark-cluster teardown {RECIPE}` takes it down" in said.out
    first, second = (files.load(path) for path in sorted(Path("benchmark_results").glob("*.json")))
    assert first.arguments["salt"] == second.arguments["salt"]
    assert first.deployment["labels"] != second.deployment["labels"]


def test_the_end_as_json(cli: Cli, inventory: Inventory) -> None:
    said = ran(cli, inventory, sides(inventory), *CHANGE, "--json")
    assert {"ab_side", "ab", "judged", "level", "run_finished"} <= checked(said.lines)
    told = said.lines[-1]
    assert [side["verdict"] for side in told["sides"]] == ["rdma", "rdma"]
    assert told["comparison"]["rows"][0]["figure"] == "output"
    assert (told["kept"], told["not_kept"]) == (None, None)


def test_a_better_b_is_kept_as_a_recipe_of_the_users_own(
    cli: Cli, inventory: Inventory, server: BenchServer
) -> None:
    server.does.first = server.does.gap = 0.02

    def faster() -> None:
        server.does.first = server.does.gap = 0.001

    said = ran(cli, inventory, sides(inventory, faster), *CHANGE, "--keep", "better")
    assert said.code == 0, said.out + said.err
    assert "B is better: B / A of tok/s c=1 " in said.out
    name = f"{RECIPE}-max-num-seqs"
    assert f"kept: recipe {name} in " in said.out
    kept = recipes.load(name, {})
    assert kept.path.parent == overlay.folder()
    assert kept.args["max-num-seqs"].value == 64
    assert "c=1" in kept.measured[0].value
    plain = recipes.load(RECIPE, {})
    assert {**plain.args, "max-num-seqs": kept.args["max-num-seqs"]} == kept.args
    assert (plain.env, plain.image) == (kept.env, kept.image)


def test_what_is_not_better_is_not_kept(
    cli: Cli, inventory: Inventory, server: BenchServer
) -> None:
    server.does.first = server.does.gap = 0.001

    def slower() -> None:
        server.does.first = server.does.gap = 0.02

    said = ran(cli, inventory, sides(inventory, slower), *CHANGE, "--keep", "better")
    assert "A is better: the change costs tokens" in said.out
    assert "not kept: B is not better beyond noise" in said.out
    assert not overlay.folder().exists()


def test_a_side_without_rdma_is_measured_and_is_not_kept(
    cli: Cli, inventory: Inventory, server: BenchServer
) -> None:
    server.does.first = server.does.gap = 0.02
    hosts = sides(inventory)

    def over_sockets() -> None:
        server.does.first = server.does.gap = 0.001
        hosts[0].carries = hosts[1].carries = 0

    hosts[:] = sides(inventory, over_sockets)
    said = ran(cli, inventory, hosts, *CHANGE, "--keep", "better")
    assert said.code == 4, said.out + said.err
    assert "B (--arg max-num-seqs=64): verdict socket (RDMA010)" in said.out
    assert "not kept: B's verdict is socket" in said.out


# Refused before anything is changed


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing says what B changes"),
        (("--option", "no-such"), "has no option 'no-such'"),
        (("--arg", "no-such="), "takes out what"),
        (("--env", "HF_TOKEN=x"), "would stand in the containers' labels"),
        (("--option", "dual-rail", "--keep", "worse"), "--keep worse: not known"),
    ],
)
def test_a_wrong_change(cli: Cli, inventory: Inventory, words: tuple[str, ...], told: str) -> None:
    hosts = sides(inventory)
    said = ran(cli, inventory, hosts, *words)
    assert said.code == 2
    assert told in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_change_that_changes_nothing(cli: Cli, inventory: Inventory) -> None:
    said = ran(cli, inventory, sides(inventory), "--image", recipes.load(RECIPE, {}).image)
    assert said.code == 2
    assert "A and B are the same" in said.err


def test_what_runs_is_not_taken_down(cli: Cli, inventory: Inventory) -> None:
    hosts = sides(inventory)
    made = switched.made(inventory, PAIR)
    for host in hosts[:2]:
        host.texts["containers"] = switched.runs(made, host.name)
    said = ran(cli, inventory, hosts, *CHANGE)
    assert said.code == 4
    assert f"{RECIPE} runs already on spark-2, spark-3" in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_b_that_could_not_be_launched(cli: Cli, inventory: Inventory) -> None:
    hosts = sides(inventory)
    hosts[1].texts["image"] = ""
    said = ran(cli, inventory, hosts, *CHANGE)
    assert said.code == 4
    assert "B could not be launched, nothing was changed: spark-3: SERVE002" in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_recipe_that_none_can_extend_is_not_to_be_kept(
    cli: Cli, inventory: Inventory, tmp_path: Path
) -> None:
    shipped = recipes.load(RECIPE, {}).path.read_text()
    mine = write(tmp_path / "mine.yaml", shipped)
    said = cli(
        "bench", "ab", str(mine), *CHANGE, "--keep", "better", "-i", str(inventory.path),
        hosts=sides(inventory),
    )  # fmt: skip
    assert said.code == 2
    assert "is not in a recipes folder" in said.err


# Stopped on the way


def stopped_at(kind: type, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the n-th event of that kind."""
    from spark_cluster.cli.views.bench_ab import AbView

    told, left = AbView.__call__, [number]

    def call(self: Any, event: Any) -> None:
        told(self, event)
        if isinstance(event, kind):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

    monkeypatch.setattr(AbView, "__call__", call)


def test_stopped_while_a_is_measured(
    cli: Cli, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(LevelEnded, 1, monkeypatch)
    hosts = sides(inventory)
    said = ran(cli, inventory, hosts, *CHANGE)
    assert said.code == 130
    (file,) = Path("benchmark_results").glob("*.json")
    assert f"A's results are in {file}." in said.err
    assert f"A serves on: `spark-cluster launch {RECIPE}` follows it" in said.err
    assert f"`spark-cluster teardown {RECIPE}` takes it down" in said.err
    assert commands(hosts[0]) == ["docker run"]


def test_stopped_before_b_is_launched(
    cli: Cli, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(SideStarted, 2, monkeypatch)
    said = ran(cli, inventory, sides(inventory), *CHANGE)
    assert said.code == 130
    (file,) = Path("benchmark_results").glob("*.json")
    assert f"A's results are in {file}." in said.err
    follow = f"`spark-cluster launch {RECIPE} --arg max-num-seqs=64` follows it"
    assert f"B may be starting: {follow}" in said.err
    assert "`spark-cluster bench compare` A's file and B's" in said.err


def test_a_that_cannot_be_taken_down_is_the_end(cli: Cli, inventory: Inventory) -> None:
    hosts = sides(inventory)
    made = switched.made(inventory, PAIR)
    hosts[1].effect("docker rm --force", containers=switched.runs(made, "spark-3"))
    said = ran(cli, inventory, hosts, *CHANGE)
    assert said.code != 0
    assert "A is not taken down: B was not launched" in said.err
    assert f"A may still run: `spark-cluster teardown {RECIPE}`" in said.err
    assert "A's results are in benchmark_results/" in said.err
    assert commands(hosts[0]).count("docker run") == 1


def test_a_b_that_does_not_come_up_keeps_a(cli: Cli, inventory: Inventory) -> None:
    hosts = sides(inventory)

    made = switched.made(inventory, PAIR, overrides=Overrides.typed(args=CHANGE[1:]))
    for host in hosts[:2]:
        host.effect(
            made.container(host.name).digest, containers=switched.runs(made, host.name, "exited")
        )
    said = ran(cli, inventory, hosts, *CHANGE)
    assert said.code not in (0, 130)
    assert "B was not launched" in said.err
    assert "A's results are in benchmark_results/" in said.err


# Which is better


def comparison(*verdicts: Verdict) -> Comparison:
    rows = [
        Row(f"c={at}", "output", "tok/s", 100.0, 120.0, 1.2, 1.1, 1.3, verdict)
        for at, verdict in enumerate(verdicts)
    ]
    other = Row("c=0", "TTFT p50", "s", 1.0, 9.0, 9.0, 8.0, 10.0, "worse")
    return Comparison("a", "b", "sweep", (*rows, other), ())


@pytest.mark.parametrize(
    ("verdicts", "found"),
    [
        (("better", "within noise"), "b"),
        (("worse", "too few"), "a"),
        (("better", "worse"), "depends"),
        (("within noise", "unknown"), "noise"),
    ],
)
def test_the_tokens_per_second_decide(verdicts: tuple[Verdict, ...], found: str) -> None:
    assert ab.better(comparison(*verdicts)) == found
    assert ab.ratios(comparison("better")) == "c=0 1.200 (1.100-1.300)"


def test_an_overlay_is_the_recipe_with_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rails, variables that are left out, an image: what extends it serves the same."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    plain = recipes.load("qwen3-vl-235b", {})
    typed = Overrides.typed(
        image="example.org/vllm:1", context=4096, env=["NCCL_DEBUG=WARN", "VLLM_SLEEP_WHEN_IDLE="]
    )
    chosen = override(choose(plain, None, ["dual-rail"]), typed)
    assert overlay.can_extend(plain)
    path = overlay.write("mine", overlay.overlay(plain, chosen, "mine", "a note"))
    kept = recipes.load("mine", {})
    assert (kept.path, kept.rails, kept.image) == (path, "dual", "example.org/vllm:1")
    assert {k: v.value for k, v in kept.args.items()} == {
        k: v.value for k, v in chosen.args.items()
    }
    assert {k: v.value for k, v in kept.env.items()} == {k: v.value for k, v in chosen.env.items()}
    assert overlay.free_name("mine") == "mine-2"
    with pytest.raises(FileExistsError):
        overlay.write("mine", "")

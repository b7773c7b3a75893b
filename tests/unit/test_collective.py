"""`verify-rdma --probe --collective` over fake hosts, and its script with a stand-in for torch.

tests/contract/test_collective_torch.py runs the script with the real torch.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.core.error import StateUnknown
from spark_cluster.engines.collective import specs
from spark_cluster.engines.common import shipped
from spark_cluster.engines.spec import docker_run
from spark_cluster.rdma import collective
from spark_cluster.rdma.bandwidth import Expectation, Row
from spark_cluster.rdma.collective import GIB, SIZES, Said, parse, slowest_link
from spark_cluster.runner.collective import held_script
from tests.command_line import Cli
from tests.command_line import Said as Printed
from tests.fake_transport import failed

from . import world
from .test_bandwidth import Meter
from .test_json import checked
from .world import INVENTORY, RECIPE

#: Bytes that each rank's all-reduces have, and their number: what the counters must show.
MOVED, CALLS = 40 * 2**30, 60
UNITS = MOVED // 4


def log(rank: int, *, seconds: float = 0.08, network: str = "IB", right: bool = True) -> str:
    """A rank's, whose all-reduce of 1 GiB takes so long: 0.08 s are 107 Gb/s."""
    lines = [
        f"spark-{rank + 2}:7:7 [0] NCCL INFO NCCL version 2.29.7+cuda13.0",
        f"spark-{rank + 2}:7:9 [0] NCCL INFO NET/IB : Using [0]rocep1s0f1:1/RoCE [RO]; "
        "OOB enp1s0f1np1:192.168.100.10<0>",
        f"spark-{rank + 2}:7:9 [0] NCCL INFO Using network {network}",
        f"spark-{rank + 2}:7:9 [0] NCCL INFO ncclCommInitRank comm 0x1 rank {rank} nranks 2 cudaDev"
        " 0 nvmlDev 0 busId f01000 commId 0x2 - Init COMPLETE",
        f'spark-cluster-collective {{"rank": {rank}, "ranks": 2, "torch": "2.9.0+cu130"}}',
        'spark-cluster-collective {"bytes": 16384, "calls": 50, "seconds": 4e-05, "right": true}',
        f'spark-cluster-collective {{"bytes": {GIB}, "calls": 10, "seconds": {seconds}, '
        f'"right": {str(right).lower()}}}',
        f'spark-cluster-collective {{"rank": {rank}, "moved": {MOVED}, "total": {CALLS}}}',
    ]
    return "\n".join(lines) + "\n"


class Reducer(Meter):
    """A host of the pair on which the all-reduce runs and ends with `status`."""

    def __init__(self, name: str, status: int = 0, said: str = "", **gbits: float) -> None:
        super().__init__(name, **gbits)
        self.carries = UNITS
        self.on("spark-cluster-collective", "ready\n")
        self.on("docker inspect --format '{{.State.Status}}", [
            "running 0\n", f"exited {status}\n",
        ])  # fmt: skip
        self.on("docker logs spark-cluster-collective", said or log(0 if name == "spark-2" else 1))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spark_cluster.runner.collective._PAUSE", 0.0)
    monkeypatch.setattr("spark_cluster.runner.collective._GRACE", 0.0)


def pair() -> list[Reducer]:
    return [Reducer("spark-2"), Reducer("spark-3")]


def ran(cli: Cli, hosts: Sequence[Reducer], *more: str, recipe: str = RECIPE) -> Printed:
    words = ("verify-rdma", "--probe", "--collective", *filter(None, [recipe]))
    return cli(*words, "-i", INVENTORY, *more, hosts=hosts)


def containers(host: Reducer) -> list[Any]:
    return [held for held in host.held if "docker run" in held.script]


def test_a_fast_collective_ends_with_0(cli: Cli) -> None:
    hosts = pair()
    said = ran(cli, hosts)
    assert said.code == 0, said.out + said.err
    table = [line.split() for line in said.out.splitlines()]
    assert ["1", "GiB", "10", "80.000", "107", "13.4"] in table
    assert (
        "at most 107 Gb/s, 101% of the 106 of enp1s0f1np1 between spark-2 and spark-3" in said.out
    )
    assert "torch 2.9.0+cu130, NCCL 2.29.7" in said.out
    assert f"{CALLS} collectives in" in said.out
    assert "travelled by RDMA, both ways, on all 2 ranks" in said.out
    assert "verdict: rdma" in said.out
    for host in hosts:
        (held,) = containers(host)
        assert held.released
        assert host.connections == 1
    assert [host.changes for host in hosts] == [[], []]


def test_the_end_as_json(cli: Cli) -> None:
    said = ran(cli, pair(), "--json")
    assert {"collective_started", "collective", "measured"} <= checked(said.lines)
    found = said.data["collective"]
    assert [size["bytes"] for size in found["sizes"]] == [16384, GIB]
    assert found["verdict"]["kind"] == "rdma"
    assert found["link"]["gbits"] == 106.0
    assert said.data["bandwidth"]


def test_fast_links_and_a_slow_collective_have_a_name(cli: Cli) -> None:
    """What owners report: 3 GB/s with everything set right."""
    hosts = pair()
    hosts[0].on("docker logs spark-cluster-collective", log(0, seconds=0.36))
    said = ran(cli, hosts)
    assert said.code == 4
    told = "RDMA023 the links give 106 Gb/s (enp1s0f1np1 between spark-2 and spark-3), the "
    assert f"{told}collective 23.9 Gb/s (2.98 GB/s) at 1 GiB" in said.out
    assert "verdict: rdma" in said.out
    assert "more: spark-cluster explain RDMA023" in said.out
    assert cli("explain", "RDMA023").code == 0


def test_a_slow_link_is_the_links_own_finding(cli: Cli) -> None:
    hosts = [Reducer("spark-2", gbits=13.0), Reducer("spark-3", gbits=13.0)]
    for number, host in enumerate(hosts):
        host.on("docker logs spark-cluster-collective", log(number, seconds=2.0))
    said = ran(cli, hosts)
    assert said.code == 4
    assert "RDMA020" in said.out
    assert "RDMA023" not in said.out


def test_a_collective_over_sockets(cli: Cli) -> None:
    hosts = pair()
    for number, host in enumerate(hosts):
        host.carries = 0
        host.on("docker logs spark-cluster-collective", log(number, seconds=4.0, network="Socket"))
    said = ran(cli, hosts)
    assert said.code == 4
    assert f"{CALLS} collectives were made and no RDMA device of any rank carried them" in said.out
    assert "verdict: socket" in said.out
    assert "more: spark-cluster explain RDMA010" in said.out


def test_a_log_that_contradicts_the_counters_is_heard(cli: Cli) -> None:
    hosts = pair()
    hosts[1].on("docker logs spark-cluster-collective", log(1, network="Socket"))
    said = ran(cli, hosts)
    assert said.code == 4
    assert "The counters and NCCL's log contradict each other." in said.out
    assert "verdict: unknown" in said.out


def test_a_wrong_sum_is_a_finding(cli: Cli) -> None:
    hosts = pair()
    hosts[0].on("docker logs spark-cluster-collective", log(0, right=False))
    said = ran(cli, hosts)
    assert said.code == 4
    assert "RDMA024 the sum of an all-reduce of 1 GiB is wrong" in said.out


def test_a_rank_that_fails_is_named_with_its_last_words(cli: Cli) -> None:
    words = "Traceback (most recent call last):\ntorch.distributed.DistBackendError: NCCL error\n"
    hosts = [Reducer("spark-2"), Reducer("spark-3", 1, words)]
    hosts[0].on("docker inspect --format '{{.State.Status}}", "running 0\n")
    said = ran(cli, hosts)
    assert said.code == 4
    told = "RDMA024 the all-reduce on spark-3 did not come to its end: exit code 1: torch"
    assert f"{told}.distributed.DistBackendError: NCCL error" in said.out
    assert "on spark-2 did not come to its end: it was still running when it was ended" in said.out
    assert "verdict: none, it failed" in said.out
    assert all(held.released for host in hosts for held in containers(host))


def test_a_rank_past_its_limit(cli: Cli) -> None:
    said = ran(cli, [Reducer("spark-2", 142, "x\n"), Reducer("spark-3", 142, "x\n")])
    assert "did not come to its end: not within 240 s: x" in said.out


def test_a_container_that_does_not_start(cli: Cli) -> None:
    hosts = pair()
    hosts[0].on("docker run", failed(71, stdout="failed docker: no such runtime\n"))
    said = ran(cli, hosts)
    assert said.code == 4
    assert "the container did not start: docker: no such runtime" in said.out
    assert containers(hosts[1]) == []


def test_a_host_that_is_lost_meanwhile_is_3(cli: Cli) -> None:
    hosts = pair()
    gone = StateUnknown("spark-3: the connection died", remedy="look")
    hosts[1].on("docker inspect --format '{{.State.Status}}", gone)
    hosts[0].on("docker inspect --format '{{.State.Status}}", "exited 1\n")
    assert ran(cli, hosts).code == 3


def test_ctrl_c_leaves_no_container(cli: Cli) -> None:
    hosts = pair()

    def stop(_: str) -> str:
        os.kill(os.getpid(), 2)
        return "running 0\n"

    hosts[0].on("docker inspect --format '{{.State.Status}}", stop)
    said = ran(cli, hosts)
    assert said.code == 130
    assert "No container was left running" in said.err
    assert all(held.released for host in hosts for held in containers(host))


# Refused, and nothing started


def test_it_does_not_run_beside_a_model(cli: Cli) -> None:
    hosts = pair()
    hosts[0].texts["containers"] = world.running("spark-2")
    said = ran(cli, hosts)
    assert said.code == 4
    assert f"spark-2: vllm-head of {RECIPE} runs" in said.err
    assert f"`spark-cluster teardown {RECIPE}` first" in said.err
    assert [host.held for host in hosts] == [[], []]


@pytest.mark.parametrize(
    ("fact", "text", "told"),
    [
        ("image", "", "is not on spark-3"),
        ("memory", "MemTotal: 125829120 kB\nMemAvailable: 4194304 kB\n", "needed for a collective"),
        ("containers", "@@error docker ps gave no answer\n", "docker says: docker ps gave no"),
    ],
)
def test_what_a_host_lacks(cli: Cli, fact: str, text: str, told: str) -> None:
    hosts = pair()
    hosts[1].texts[fact] = text
    said = ran(cli, hosts)
    assert said.code == 4
    assert told in said.err
    assert [host.held for host in hosts] == [[], []]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("verify-rdma", "--collective", RECIPE), "--collective goes with --probe only"),
        (("verify-rdma", "--probe", RECIPE), "takes files only with --from-log"),
        (("verify-rdma", "--probe", "--with", "debug"), "--with goes with --collective only"),
        (("verify-rdma", "--probe", "--collective", RECIPE, "x"), "takes one recipe, not"),
        (("verify-rdma", "--probe", "--collective", "qwen3-32b-fp8"), "is for one host"),
        (("verify-rdma", "--probe", "--collective", "no-such"), "there is no recipe 'no-such'"),
        (("verify-rdma", "--probe", "--collective"), "nothing was launched from here"),
    ],
)
def test_a_wrong_command_line(cli: Cli, words: tuple[str, ...], told: str) -> None:
    said = cli(*words, "-i", INVENTORY, hosts=[])
    assert said.code == 2
    assert told in said.err


def test_without_a_name_it_is_the_recipe_that_was_launched_last(cli: Cli) -> None:
    launched = [world.launching(name) for name in ("spark-2", "spark-3")]
    assert cli("launch", RECIPE, "-i", INVENTORY, hosts=launched).code == 0
    said = ran(cli, pair(), recipe="")
    assert said.code == 0, said.out + said.err


# The containers


def test_the_containers_are_the_launchs_own_but_for_what_they_run() -> None:
    made = world.deployment()
    first, second = specs(made, port=29571, sizes=SIZES, seconds=1.0, limit=240)
    head = made.containers[0]
    assert (first.image, first.devices, first.capabilities, first.ulimits, first.shm_size) == (
        head.image, head.devices, head.capabilities, head.ulimits, head.shm_size,
    )  # fmt: skip
    kept = {k: v for k, v in head.env.items() if not k.startswith("NCCL_DEBUG")}
    assert {k: first.env[k] for k in kept} == kept
    assert (first.env["RANK"], second.env["RANK"], first.env["WORLD_SIZE"]) == ("0", "1", "2")
    assert first.env["MASTER_ADDR"] == second.env["MASTER_ADDR"] == made.addresses[made.head]
    assert first.env["NCCL_DEBUG"] == "INFO"
    assert (first.mounts, first.secrets) == ((), ())
    assert {spec.labels["spark-cluster.role"] for spec in (first, second)} == {"worker"}
    assert "spark-cluster.port" not in first.labels
    assert max(map(int, first.env["SPARK_CLUSTER_SIZES"].split(","))) <= GIB


def test_an_entrypoint_that_the_launch_replaces_is_replaced() -> None:
    made = world.deployment()
    (plain, _) = specs(made, port=1, sizes=SIZES, seconds=1.0, limit=9)
    assert (plain.entrypoint, plain.command[0]) == ("", "python3")
    replaced = [type(s)(**{**vars(s), "entrypoint": "vllm"}) for s in made.containers]
    own = type(made)(**{**vars(made), "containers": tuple(replaced)})
    (spec, _) = specs(own, port=1, sizes=SIZES, seconds=1.0, limit=9)
    assert (spec.entrypoint, spec.command[0]) == ("python3", "-u")
    assert "--entrypoint python3" in docker_run(spec)


def test_the_held_script_is_sh_and_removes_what_it_started(tmp_path: Path) -> None:
    """In a real shell, with a docker that writes down what it is told."""
    (spec, _) = specs(world.deployment(), port=1, sizes=SIZES, seconds=1.0, limit=9)
    calls, docker = tmp_path / "calls", tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$1 $2 $3 $4" >>{calls}\n[ "$1" != ps ] || echo old\n')
    docker.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", held_script(spec)], input="", text=True, capture_output=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("ready\n", "")
    told = calls.read_text().splitlines()
    assert told[0].startswith("ps --all --quiet")
    assert told[1] == "rm --force --volumes old"
    assert told[2] == "run --detach --name spark-cluster-collective"
    assert told[3] == "rm --force --volumes spark-cluster-collective"
    docker.write_text("#!/bin/sh\n[ $1 != run ] || { echo no GPU >&2; exit 125; }\n")
    broken = subprocess.run(
        ["/bin/sh", "-c", held_script(spec)], input="", text=True, capture_output=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=False,
    )  # fmt: skip
    assert broken.stdout.strip() == "failed no GPU"


# The script, with a torch that writes down what it is asked

TORCH = '''\
"""One rank alone, which sees itself twice."""
import json, os

__version__ = "0"
float32 = "float32"


class Tensor(list):
    def __getitem__(self, at):
        return 1.0 if self.sum is None else self.sum
    def zero_(self):
        self.sum = 0.0
    sum = None


def full(shape, value, **_):
    with open(os.environ["ASKED"], "a") as file:
        file.write(f"{shape[0] * 4}\\n")
    found = Tensor()
    found.sum = value
    return found


def tensor(values, **_):
    found = Tensor()
    found.sum = values[0]
    return found
'''
DIST = """\
class ReduceOp:
    MAX = "max"

def init_process_group(backend, timeout): pass
def get_rank(): return 0
def get_world_size(): return 2
def destroy_process_group(): pass

def all_reduce(data, op=None):
    if op is None and data.sum:
        data.sum = 3.0
"""


def test_no_size_is_above_1_gib(tmp_path: Path) -> None:
    """Whatever it is asked for: an all-reduce of 16 GiB is reported to have frozen a node."""
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text(TORCH)
    (package / "distributed.py").write_text(DIST)
    asked = tmp_path / "asked"
    env = {
        "PYTHONPATH": str(tmp_path), "ASKED": str(asked), "SPARK_CLUSTER_BACKEND": "gloo",
        "SPARK_CLUSTER_SIZES": f"{16 * GIB},1024", "SPARK_CLUSTER_SECONDS": "0.001",
        "SPARK_CLUSTER_LIMIT": "30",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", shipped("allreduce.py")], env=env, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert asked.read_text().split() == ["1024", str(GIB)]
    said = parse(done.stdout, 2)
    assert [size.bytes for size in said.sizes] == [1024, GIB]
    assert all(size.right for size in said.sizes)
    assert max(SIZES) == GIB


# Reading and judging


@pytest.mark.parametrize(
    "line",
    [
        "", "nonsense", '{"bytes": 9}', '{"bytes": -1, "calls": 1, "seconds": 1}',
        '{"bytes": 1, "calls": 1, "seconds": 0}', '{"bytes": 1, "calls": 1, "seconds": NaN}',
        '{"bytes": true, "calls": 1, "seconds": 1}', '{"bytes": 1, "calls": 1, "seconds": "1"}',
        '{"moved": "x", "total": []}', "[]", "3",
    ],
)  # fmt: skip
def test_a_strangers_image_may_say_anything(line: str) -> None:
    said = parse(f"spark-cluster-collective {line}\nspark-cluster-collective\n", 2)
    assert said == Said()


def test_bus_bandwidth_is_what_a_link_carries() -> None:
    """nccl-tests: busbw = 2 (n - 1) / n x bytes / time."""
    text = f'spark-cluster-collective {{"bytes": {10**9}, "calls": 1, "seconds": 1.0}}\n'
    assert parse(text, 2).sizes[0].bus_gbits == pytest.approx(8.0)
    assert parse(text, 4).sizes[0].bus_gbits == pytest.approx(12.0)


def row(a: str, b: str, *rails: str, gbits: float = 100.0) -> Row:
    return Row(a, b, rails, (gbits,), Expectation(85, 170, 42, 119), state="good", peer_rails=rails)


def test_the_slowest_link_counts_with_the_rails_that_the_ranks_use() -> None:
    rows = [
        row("a", "b", "x"), row("b", "a", "x", gbits=90.0), row("a", "b", "y", gbits=13.0),
        row("a", "b", "x", "y", gbits=190.0), row("b", "a", "x", "y", gbits=180.0),
    ]  # fmt: skip
    single = slowest_link(rows, {"a": ("x",), "b": ("x",)})
    assert single is not None
    assert single.gbits == 90.0
    dual = slowest_link(rows, {"a": ("x", "y"), "b": ("x", "y")})
    assert dual is not None
    assert (dual.gbits, dual.rails) == (180.0, ("x", "y"))
    assert slowest_link(rows, {"a": ("x",), "c": ("x",)}) is None


def test_software_links_are_not_compared() -> None:
    rxe = Expectation(0.01, 0.005, 0.01, 0.005, spread=4.0)
    rows = [Row("a", "b", ("x",), (2.0,), rxe, state="good", peer_rails=("x",))]
    link = slowest_link(rows, {"a": ("x",), "b": ("x",)})
    said = parse(log(0, seconds=900.0), 2)
    assert link is not None
    assert link.software
    assert collective.findings({0: said}, link, ("a", "b")) == []


def test_the_diagnoses_are_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs/diagnoses.md").read_text()
    assert re.search("RDMA023.*The links are fast and the collective is slow", page)

"""The supervisors of `launch --restart-at-boot`: a head and a worker that really run, and what
befalls them."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_cluster import places
from spark_cluster.engines.placement import place
from spark_cluster.engines.table import ENGINES
from spark_cluster.inventory import loader
from spark_cluster.steps import supervisor
from spark_cluster.steps.view import View

from . import world
from .cases import write
from .shell import shellcheck
from .supervised_rank import Rank, wait_for
from .test_engines import recipe

if sys.platform != "linux":
    pytest.skip("/proc and 127.0.0.2 are Linux's", allow_module_level=True)
if shutil.which("curl") is None:
    pytest.skip("no curl on this machine (apt install curl)", allow_module_level=True)

HEAD, WORKER = world.PAIR


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Rank, Rank]]:
    """Head and worker of the shipped recipe, launched and not yet supervised."""
    port = free_port()
    head, worker = (Rank(tmp_path / name, name, port, world.RECIPE) for name in world.PAIR)
    write(head.root / "server", "")
    try:
        yield head, worker
    finally:
        head.halt()
        worker.halt()


@pytest.fixture
def serving(pair: tuple[Rank, Rank]) -> tuple[Rank, Rank]:
    """Both supervised, and in agreement."""
    for rank in pair:
        rank.boot()
    wait_for(lambda: all(rank.is_up for rank in pair), "both ranks run")
    return pair


def assert_begun_anew(head: Rank, worker: Rank) -> None:
    """Both are up in one new epoch, started once each, and the server in the head's container."""
    wait_for(
        lambda: head.is_up and worker.is_up and head.epoch == worker.epoch != world.RUN,
        "both are up in a new epoch",
    )
    assert (head.did("start"), worker.did("start")) == (1, 1)
    assert (head.root / "server").exists()


# Nothing happens while nothing is wrong


def test_what_launch_started_is_taken_as_it_is(serving: tuple[Rank, Rank]) -> None:
    for rank in serving:
        rank.turn()
        assert rank.epoch == world.RUN
        assert rank.did("start") == rank.did("stop") == rank.did("exec --detach") == 0


def test_a_supervisor_that_is_restarted_goes_on(serving: tuple[Rank, Rank]) -> None:
    for rank in serving:
        rank.halt()
        rank.boot()
        rank.turn()
    head, worker = serving
    wait_for(lambda: head.is_up and worker.is_up, "both ranks run")
    assert head.did("stop") == worker.did("stop") == 0


def test_who_is_silent_has_changed_nothing(serving: tuple[Rank, Rank]) -> None:
    """A cable that is out for a moment must not cost an hour's start."""
    head, worker = serving
    worker.halt()
    wait_for(lambda: "runs; spark-3 does not answer on 127.0.0.2" in head.says, "it is told")
    head.turn()
    worker.boot()
    wait_for(lambda: head.is_up and worker.is_up, "both ranks run")
    assert head.did("stop") == worker.did("stop") == 0


def test_a_docker_that_does_not_answer_restarts_nobody(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    write(worker.root / "silent", "")
    wait_for(lambda: "docker does not answer: Cannot connect" in worker.says, "it is told")
    head.turn()
    (worker.root / "silent").unlink()
    wait_for(lambda: head.is_up and worker.is_up, "both ranks run")
    assert head.did("stop") == worker.did("stop") == 0


# Reboots


def test_the_worker_is_rebooted(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    worker.crash()
    head.turn()
    worker.boot()
    assert_begun_anew(head, worker)
    assert head.did("stop") == 1
    assert "the rank on spark-3 has ended: all ranks begin anew in 1 s" in head.journal


def test_the_head_is_rebooted(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    head.crash()
    worker.turn()
    head.boot()
    assert_begun_anew(head, worker)
    assert worker.did("stop") == 1
    assert "spark-2 begins anew: stops vllm-worker" in worker.journal


@pytest.mark.parametrize("first", world.PAIR)
def test_both_are_rebooted(serving: tuple[Rank, Rank], first: str) -> None:
    head, worker = serving
    for rank in serving:
        rank.crash()
    for rank in sorted(serving, key=lambda rank: rank.host != first):
        rank.boot()
        rank.turn()
    assert_begun_anew(head, worker)


def test_a_second_reboot_while_the_first_is_mended(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    worker.crash()
    worker.boot()
    wait_for(lambda: head.epoch == "-", "the head has noticed")
    head.crash()
    head.boot()
    assert_begun_anew(head, worker)


# Ends without a reboot


def test_a_rank_that_ends_ends_the_others(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    worker.end()
    assert_begun_anew(head, worker)
    assert "does not run (exit code 1): waits for spark-2 to begin anew" in worker.journal


def test_the_heads_end_ends_the_others(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    head.end(139)
    assert_begun_anew(head, worker)
    assert "vllm-head does not run any more (exit code 139)" in head.journal


def test_the_end_of_the_server_in_the_heads_container_ends_all(
    serving: tuple[Rank, Rank],
) -> None:
    head, worker = serving
    (head.root / "server").unlink()
    assert_begun_anew(head, worker)
    assert "vllm serve has ended: all ranks begin anew" in head.journal


def test_a_container_that_somebody_restarted_is_not_in_step(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    worker.becomes("true", "another", 0, world.RUN)
    assert_begun_anew(head, worker)


def test_the_server_waits_until_ray_has_all_nodes(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    write(head.root / "ray", " 1 node_a\n")
    head.end()
    wait_for(lambda: head.did("start") == 1, "the head's container is started")
    wait_for(lambda: head.says == "waits for the ranks to join", "it waits")
    assert head.did("exec --detach") == 0
    write(head.root / "ray", " 1 node_a\n 1 node_b\n")
    assert_begun_anew(head, worker)
    assert head.did("exec --detach") == 1


def test_ranks_that_never_join_begin_anew(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    write(head.root / "ray", " 1 node_a\n")
    head.end()
    wait_for(lambda: "not all ranks have joined within 8 s" in head.journal, "it gives up")
    write(head.root / "ray", " 1 node_a\n 1 node_b\n")
    wait_for(lambda: head.is_up and worker.is_up, "both ranks run")


def test_a_failing_start_is_tried_again_after_growing_pauses(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    write(head.root / "refuses", "")
    head.end()
    wait_for(lambda: "anew in 4 s" in head.journal, "the third pause")
    pauses = re.findall(r"begin anew in (\d+) s", head.journal)
    assert pauses == ["1", "2", "4"]
    assert head.did("start") == 2
    assert "vllm-head could not be started: Error response from daemon: no GPU" in head.journal
    assert worker.did("start") == 0
    (head.root / "refuses").unlink()
    wait_for(lambda: head.is_up and worker.is_up, "both ranks run")


def test_a_worker_that_cannot_start_is_tried_again(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    write(worker.root / "refuses", "")
    worker.end()
    wait_for(lambda: "anew in 2 s" in head.journal, "the second pause")
    (worker.root / "refuses").unlink()
    wait_for(lambda: head.is_up and worker.is_up, "both ranks run")
    assert worker.did("start") == 2


# What a start waits for


@pytest.mark.parametrize(
    ("file", "broken", "says"),
    [
        ("address", "10.0.0.1/24\n", "enp1s0f1np1 does not have the address 192.168.100.11"),
        ("sys/rocep1s0f1/ports/1/state", "1: DOWN\n", "the RDMA device rocep1s0f1 is not ACTIVE"),
        ("dev/rdma_cm", None, "/dev/infiniband/rdma_cm is not there"),
        ("cut", "", "192.168.100.10 does not answer a 8972 byte ping from enp1s0f1np1"),
    ],
)
def test_a_start_waits_for_the_fabric(
    serving: tuple[Rank, Rank], file: str, broken: str | None, says: str
) -> None:
    head, worker = serving
    worker.crash()
    path = worker.root / file
    whole = path.read_text() if path.exists() else None
    if broken is None:
        path.unlink()
    else:
        write(path, broken)
    worker.boot()
    says = says.replace("/dev/infiniband", str(worker.root / "dev"))
    wait_for(lambda: says in worker.says, says)
    # The head waits with it, without the rank that it had.
    wait_for(lambda: head.says == "waits: the rank on spark-3 is not ready", "the head waits")
    assert head.container[0] == "false"
    assert (head.did("start"), worker.did("start")) == (0, 0)
    if whole is None:
        path.unlink()
    else:
        write(path, whole)
    assert_begun_anew(head, worker)


def test_the_host_is_made_as_launch_makes_it(serving: tuple[Rank, Rank]) -> None:
    head, worker = serving
    worker.crash()
    worker.boot()
    assert_begun_anew(head, worker)
    for rank in serving:
        assert rank.did("swapoff -a") == 1
        assert rank.told("vm/drop_caches") == "3"
        note = rank.told("before").splitlines()
        assert note[:2] == [f"run {world.RUN}", "swap /swap.img"]
        assert any(line.startswith("hugepages ") for line in note)
        assert (rank.root / "before").stat().st_mode & 0o777 == 0o600


def test_the_swap_may_stay(tmp_path: Path) -> None:
    rank = Rank(tmp_path, HEAD, free_port(), "qwen3-32b-fp8", swap="keep")
    rank.end()
    try:
        rank.boot()
        wait_for(lambda: rank.is_up, "it runs")
    finally:
        rank.halt()
    assert rank.did("swapoff") == 0


# What is not ours to start


def test_a_container_that_was_removed_is_not_made_again(serving: tuple[Rank, Rank]) -> None:
    for rank in serving:
        (rank.root / "container").unlink()
    for rank in serving:
        wait_for(lambda: "there is no vllm-" in rank.says, "it is told")  # noqa: B023
        rank.turn()
        assert rank.did("start") == rank.did("run") == 0


def test_a_container_of_another_launch_is_left_alone(serving: tuple[Rank, Rank]) -> None:
    _, worker = serving
    worker.becomes("false", "other", 0, "20270101-000000-0000")
    wait_for(lambda: "there is no vllm-worker of this launch any more" in worker.says, "it is told")
    worker.turn()
    assert worker.did("start") == worker.did("stop") == 0


def test_a_host_that_comes_back_when_the_others_serve_another_launch(
    serving: tuple[Rank, Rank],
) -> None:
    """After a failover: the old head starts nothing, and disturbs nobody."""
    head, worker = serving
    head.crash()
    worker.halt()
    other = "20270101-000000-0000"
    text = worker.script.read_text().replace(f"={world.RUN}", f"={other}")
    write(worker.script, text.replace(f"HEAD={HEAD}=127.0.0.1", f"HEAD={WORKER}=127.0.0.2"))
    worker.becomes("true", "other", 0, other)
    shutil.rmtree(worker.root / "run")
    worker.boot()
    wait_for(lambda: worker.epoch == other, "the new launch is supervised")
    head.boot()
    wait_for(lambda: head.says == f"waits: spark-3 serves another launch ({other})", "it is told")
    head.turn()
    assert (head.did("start"), worker.did("stop")) == (0, 0)


# One host


def test_a_recipe_of_one_host_comes_back_by_itself(tmp_path: Path) -> None:
    rank = Rank(tmp_path, HEAD, free_port(), "qwen3-32b-fp8")
    try:
        rank.boot()
        wait_for(lambda: rank.is_up, "it runs")
        rank.crash()
        rank.boot()
        wait_for(lambda: rank.is_up, "it runs again")
        assert rank.did("start") == 1
        rank.end()
        wait_for(lambda: rank.did("start") == 2 and rank.is_up, "it runs once more")
    finally:
        rank.halt()


# The text


def test_in_a_ring_a_rank_waits_for_its_link_and_for_both_neighbours() -> None:
    inventory = loader.load(places.shipped("inventory") / "examples" / "ring.yaml")
    names = inventory.groups["three"]
    of_three = recipe(nodes=3, files=())
    made = ENGINES[of_three.engine](of_three, place(of_three, inventory, "", names), world.RUN, {})
    facts = dict.fromkeys(names, world.facts("spark-2"))
    host = inventory.hosts[names[1]]
    view = View(host, inventory, facts[host.name], facts, facts[host.name], made)
    script = supervisor.script(view, port=29477, swap="off")
    settings = dict(re.findall(r"^([A-Z]+)='?(.*?)'?$", script, re.M))
    rails = [entry.split("/") for entry in settings["RAILS"].split()]
    assert [device for *_, device in rails] == ["rocep1s0f0", "rocep1s0f1", ""]
    assert rails[-1][1] == made.addresses[host.name] == settings["OWN"]
    faced = {entry.split("/")[0] for entry in settings["PINGS"].split()}
    assert faced == {interface for interface, _, device in rails if device}
    assert settings["HEAD"] == f"{names[0]}={made.addresses[names[0]]}"


@pytest.mark.parametrize(
    ("host", "recipe"),
    [
        (HEAD, world.RECIPE),
        (WORKER, world.RECIPE),
        (WORKER, "qwen3-vl-235b-mp"),
        (HEAD, "qwen3-32b-fp8"),
    ],
)
def test_shellcheck_finds_nothing(host: str, recipe: str) -> None:
    script = supervisor.script(world.view(host, recipe=recipe), port=29477, swap="off")
    assert shellcheck(script) == ""

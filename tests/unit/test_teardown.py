"""Teardown over fake hosts: by recipe, by group, with force, resumed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from spark_cluster.actions import teardown as verb
from spark_cluster.actions.operator import Operator
from spark_cluster.core.error import HostKeyRejected, Unreachable
from spark_cluster.core.event import HostLost, RunFinished, RunStarted, StepFinished
from spark_cluster.facts.launch_snapshot import LAUNCH_SNAPSHOT, LaunchSnapshotFact
from spark_cluster.facts.shared_memory import SHARED_MEMORY
from spark_cluster.inventory.models import Inventory
from spark_cluster.places import short
from spark_cluster.runner.history import past_runs, unfinished
from spark_cluster.runner.journal import Journal
from spark_cluster.transport.protocol import Completed
from tests.command_line import Cli
from tests.fake_transport import failed

from . import world
from .world import INVENTORY, MARK, Spark, context, down, healthy, launching, swapped, torn

SILENT = "@@error docker ps gave no answer within 10 s\n"

# By recipe, by group


def test_a_teardown_of_one_recipe_leaves_the_others(cli: Cli) -> None:
    hosts = [Spark("spark-1"), torn("spark-2"), torn("spark-3")]
    other = '@@c ours 4f5e /other running 0 t {"spark-cluster.recipe":"other"}\n'
    hosts[0].texts["containers"] = other
    said = cli("teardown", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "nothing of qwen3-vl-235b runs on spark-1, spark-2, spark-3" in said.out
    assert hosts[0].changes == []
    assert [host.texts["containers"] for host in hosts] == [other, "", ""]


def test_a_recipe_that_nobody_knows_is_no_success(cli: Cli) -> None:
    said = cli("teardown", "qwen3-vl-253b", "-i", INVENTORY, hosts=[torn("spark-2")])
    assert said.code == 2
    assert "nothing of ours is called 'qwen3-vl-253b'" in said.err
    assert "`qwen3-vl-235b`" in said.err


def test_a_known_recipe_that_does_not_run_is_down(cli: Cli) -> None:
    host = Spark("spark-2")
    said = cli("teardown", "qwen3-32b-fp8", "--hosts", "spark-2", "-i", INVENTORY, hosts=[host])
    assert said.code == 0
    assert "nothing of qwen3-32b-fp8 runs on spark-2" in said.out


def test_a_teardown_of_a_group_touches_no_other_host(cli: Cli) -> None:
    hosts = [torn("spark-2"), torn("spark-3")]
    said = cli("teardown", "--group", "pair", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "nothing of ours runs on spark-2, spark-3" in said.out


def test_memory_that_is_not_back_is_no_success(cli: Cli) -> None:
    host = torn("spark-2")
    host.texts["launch-snapshot"] = "run 20261118-031500-1111\nmemory 131072000000\n"
    said = cli("teardown", "--hosts", "spark-2", "--set", "teardown-check.seconds=0.05",
               "-i", INVENTORY, hosts=[host])  # fmt: skip
    assert said.code == 4
    assert "SERVE014 memory is not back" in said.out


@pytest.mark.parametrize("words", [["plan", "teardown"], ["teardown", "--dry-run"]])
def test_the_plan_of_a_teardown_is_its_dry_run(cli: Cli, words: list[str]) -> None:
    """Of one recipe, and also while a host is away."""
    hosts = [Spark("spark-1"), torn("spark-2"), down("spark-3")]
    hosts[0].texts["containers"] = (
        '@@c ours 4f5e /other running 0 t {"spark-cluster.recipe":"other"}\n'
    )
    said = cli(*words, "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0, said.err
    assert "vllm-head" in said.out
    assert "other" not in said.out
    assert "spark-3: no route to host" in said.out
    assert [host.changes for host in hosts] == [[], [], []]
    pair = cli(*words, "--group", "pair", "-i", INVENTORY, hosts=hosts)
    assert " on spark-2, spark-3" in pair.out


# What launch changed is put back


def test_the_swap_that_launch_turned_off_is_on_again(cli: Cli) -> None:
    on = swapped("spark-2").texts["swap"]
    hosts = [launching("spark-2"), launching("spark-3")]
    hosts[0].texts["swap"] = on
    hosts[0].effect("swapoff /swap.img", swap=healthy("swap", "spark-2"))
    hosts[0].effect("swapon /swap.img", swap=on)
    assert cli("launch", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts).code == 0
    assert "swap /swap.img\n" in hosts[0].texts["launch-snapshot"]
    assert "swapoff" in "".join(hosts[0].changes)
    for host in hosts:
        host.effect("docker rm --force", containers="")
    said = cli("teardown", "--group", "pair", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert hosts[0].texts["swap"] == on
    assert "swap /swap.img: off -> on, as before the launch" in said.out
    assert [host.texts["launch-snapshot"] for host in hosts] == ["", ""]
    assert "swapon" not in "".join(hosts[1].changes)


def test_the_network_is_undone_only_when_asked_for(cli: Cli) -> None:
    host = torn("spark-2")
    assert "undo network" not in cli("teardown", "--hosts", "spark-2", "-i", INVENTORY,
                                     hosts=[host]).out  # fmt: skip
    said = cli("teardown", "--network", "--hosts", "spark-2", "-i", INVENTORY, hosts=[host])
    assert said.code == 0
    assert said.out.index("teardown on spark-2") < said.out.index("undo network on spark-2")


def test_the_network_is_left_alone_when_the_teardown_failed(cli: Cli) -> None:
    host = Spark("spark-2", {"containers": SILENT})
    said = cli("teardown", "--network", "--hosts", "spark-2", "-i", INVENTORY, hosts=[host])
    assert said.code == 4
    assert "undo network on" not in said.out
    stays = "the network stays as it is: the teardown is not complete on spark-2; then"
    assert f"{stays} `spark-cluster undo network --hosts spark-2`\n" in said.out


def test_a_network_that_stays_is_told_with_every_host_whose_it_is(cli: Cli) -> None:
    hosts = [Spark("spark-1"), torn("spark-2"), down("spark-3")]
    said = cli("teardown", "--network", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    then = "then `spark-cluster undo network --hosts spark-1,spark-2,spark-3`"
    assert f"the network stays as it is: the teardown is not complete on spark-3; {then}" in (
        said.out
    )
    hosts = [Spark("spark-1"), torn("spark-2"), down("spark-3")]
    notes = [line for line in cli("teardown", "--network", "--json", "-i", INVENTORY,
             hosts=hosts).lines if line["kind"] == "note"]  # fmt: skip
    assert "the network stays as it is" in notes[-1]["message"]
    hosts[2] = torn("spark-3")
    hosts[2].on(MARK, Completed(124, "", ""))  # it hangs
    said = cli("teardown", "--network", "--dry-run", "-i", INVENTORY, hosts=hosts)
    assert said.code == 1
    assert f"the network stays as it is: not every host could be read; {then}" in said.out


def test_a_dry_run_shows_what_becomes_of_the_network(cli: Cli) -> None:
    host = torn("spark-2")
    said = cli("teardown", "--network", "--dry-run", "--hosts", "spark-2", "-i", INVENTORY,
               hosts=[host])  # fmt: skip
    assert said.code == 0
    assert said.out.index("teardown on spark-2") < said.out.index("undo network on spark-2")
    assert "Restore the network configuration" in said.out
    assert host.changes == []


# --force


def test_force_ends_the_processes_when_docker_hangs_and_says_what_is_left(
    cli: Cli,
) -> None:
    hung = Spark("spark-2", {"containers": SILENT + world.running("spark-2")})
    ended = SILENT + world.running("spark-2", state="ended", status=137)
    hung.effect("kill -KILL", containers=ended)
    hosts = [Spark("spark-1"), hung, torn("spark-3")]
    refused = cli("teardown", "-i", INVENTORY, hosts=hosts)
    assert refused.code == 4
    assert "vllm-head runs without it" in refused.out
    assert "teardown --force" in refused.out
    hosts[2] = torn("spark-3")
    said = cli("teardown", "--force", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    (killed,) = [text for text in hung.changes if "kill -KILL" in text]
    assert "for _p in 4211 4877; do" in killed
    assert "no process of vllm-head runs, its record is left" in said.out
    assert "On spark-2: `sudo systemctl restart docker`" in said.out
    assert "sudo docker rm --force vllm-head" in said.out
    assert hosts[2].texts["containers"] == ""


def test_force_needs_no_lock(cli: Cli) -> None:
    host = torn("spark-2")
    host.on("exec 9>>", Completed(75, "held plan by eve@desk (pid 7)\n", ""))
    assert cli("teardown", "--hosts", "spark-2", "-i", INVENTORY, hosts=[host]).code == 5
    said = cli("teardown", "--force", "--hosts", "spark-2", "-i", INVENTORY, hosts=[host])
    assert said.code == 0
    assert "goes on without the lock: spark-2 is in use: plan by eve@desk" in said.out


def test_force_bounds_every_command_of_docker(cli: Cli) -> None:
    host = torn("spark-2")
    cli("teardown", "--force", "--hosts", "spark-2", "-i", INVENTORY, hosts=[host])
    commands = "".join(host.changes)
    assert commands.count("docker ") == commands.count("timeout -k 5 15 docker ")


# --resume


def test_there_is_nothing_to_resume(cli: Cli) -> None:
    said = cli("teardown", "--resume", "-i", INVENTORY)
    assert said.code == 0
    assert "came to its end" in said.out
    (line,) = cli("teardown", "--resume", "--json", "-i", INVENTORY).lines
    assert (line["kind"], line["hosts"], line["rest"]) == ("resume", [], [])


def test_resume_knows_the_teardowns_with_other_inventories(cli: Cli, tmp_path: Path) -> None:
    first, second = tmp_path / "loop.yaml", tmp_path / "loop2.yaml"
    for path in (first, second):
        path.write_text(Path(INVENTORY).read_text())
    hosts = [Spark("spark-1"), torn("spark-2"), down("spark-3")]
    assert cli("teardown", "-i", str(first), hosts=hosts).code == 3
    said = cli("teardown", "--resume", "-i", str(second), hosts=hosts)
    assert said.code == 3
    assert f"every teardown with {short(second)} came to its end\n" in said.out
    assert f"not finished with other inventories: spark-3 ({short(first)})" in said.err
    assert f"`spark-cluster teardown --resume --inventory {short(first)}`" in said.err
    first.unlink()
    said = cli("teardown", "--resume", "-i", str(second), hosts=hosts)
    assert said.code == 0
    assert f"not there any more: spark-3 ({short(first)})" in said.out


def test_resume_on_some_hosts_does_not_speak_for_the_others(cli: Cli) -> None:
    hosts = [Spark("spark-1"), torn("spark-2"), down("spark-3")]
    cli("teardown", "-i", INVENTORY, hosts=hosts)
    said = cli("teardown", "--resume", "--hosts", "spark-2", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "came to its end, but for spark-3\n" in said.out


def test_a_teardown_that_reaches_no_host_names_the_way_on(cli: Cli) -> None:
    hosts = [down("spark-2"), down("spark-3")]
    said = cli("teardown", "--group", "pair", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    assert "2 hosts are away: spark-2, spark-3" in said.err
    assert "next: Is it on? What runs there may still run: `spark-cluster teardown --re" in said.err


def test_waiting_goes_with_resume(cli: Cli) -> None:
    said = cli("teardown", "--wait", "30", "-i", INVENTORY, hosts=[torn("spark-2")])
    assert said.code == 2
    assert "--wait goes with --resume" in said.err


def test_a_host_that_comes_back_is_finished(cli: Cli) -> None:
    hosts = [Spark("spark-1"), torn("spark-2"), torn("spark-3")]
    hosts[2].down = Unreachable("spark-3: no route to host", remedy="Is it on?")
    assert cli("teardown", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts).code == 3
    still = cli("teardown", "--resume", "-i", INVENTORY, hosts=hosts)
    assert still.code == 3
    assert "still away: spark-3" in still.err
    hosts[2].down = None
    said = cli("teardown", "--resume", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "teardown qwen3-vl-235b on spark-3" in said.out
    assert hosts[2].texts["containers"] == ""
    assert [host.connections for host in hosts[:2]] == [1, 1]
    assert "came to its end" in cli("teardown", "--resume", "-i", INVENTORY, hosts=hosts).out


def test_a_host_that_comes_back_is_finished_with_an_inventory_below_home(
    cli: Cli, tmp_path: Path
) -> None:
    inventory = tmp_path / "home/sparks.yaml"
    inventory.parent.mkdir(exist_ok=True)
    inventory.write_text(Path(INVENTORY).read_text())
    hosts = [Spark("spark-1"), torn("spark-2"), torn("spark-3")]
    hosts[2].down = Unreachable("spark-3: no route to host", remedy="Is it on?")
    assert cli("teardown", "-i", str(inventory), hosts=hosts).code == 3
    hosts[2].down = None
    said = cli("teardown", "--resume", "-i", str(inventory), hosts=hosts)
    assert said.code == 0
    assert hosts[2].texts["containers"] == ""


def test_resume_waits_until_the_host_is_back(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = [Spark("spark-1"), torn("spark-2"), torn("spark-3")]
    hosts[2].down = Unreachable("spark-3: no route to host", remedy="Is it on?")
    cli("teardown", "-i", INVENTORY, hosts=hosts)
    looks: list[list[str]] = []
    reachable = verb._reachable

    def look(inventory: Inventory, names: list[str], operator: Operator) -> list[str]:
        if len(looks) == 2:
            hosts[2].down = None
        looks.append(names)
        return reachable(inventory, names, operator)

    monkeypatch.setattr(verb, "_reachable", look)
    monkeypatch.setattr(verb, "_PAUSE", 0.0)
    said = cli("teardown", "--resume", "--wait", "5", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert looks == [["spark-3"]] * 3
    assert said.out.count("waiting for spark-3") == 1


def test_resume_does_not_wait_for_what_waiting_does_not_mend(cli: Cli) -> None:
    hosts = [torn("spark-2"), torn("spark-3")]
    hosts[1].down = HostKeyRejected("spark-3: its key has changed", remedy="`trust spark-3`")
    cli("teardown", "--group", "pair", "-i", INVENTORY, hosts=hosts)
    said = cli("teardown", "--resume", "--wait", "60", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    assert "its key has changed" in said.err


@pytest.mark.parametrize("more", [["qwen3-vl-235b"], ["--dry-run"], ["--network"]])
def test_resume_goes_on_with_what_was_begun(cli: Cli, more: list[str]) -> None:
    said = cli("teardown", "--resume", *more, "-i", INVENTORY)
    assert said.code == 2
    assert "--resume goes on with what was begun" in said.err


def finished(host: str, step: str, status: str) -> StepFinished:
    return StepFinished(host, step, step, status, "", (), 1.0)


@pytest.mark.parametrize(
    ("later", "left_open"),
    [
        ((), ["spark-3"]),
        (("teardown", finished("spark-2", "teardown-check", "ok")), ["spark-3"]),
        (("teardown", finished("spark-3", "teardown-check", "ok")), []),
        (("teardown", finished("spark-3", "gone", "ok")), []),  # a journal of an earlier release
        (("teardown", finished("spark-3", "teardown-check", "failed")), ["spark-3"]),
        (("launch", finished("spark-3", "no-other-run", "failed")), ["spark-3"]),
        (("launch", finished("spark-3", "containers", "changed")), []),
        (("plan", finished("spark-3", "containers", "changed")), ["spark-3"]),
    ],
)
def test_what_is_left_open_by_earlier_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    later: tuple[str, StepFinished] | tuple[()],
    left_open: list[str],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    lost = HostLost("spark-3", Unreachable("no route", remedy="Is it on?"))
    record("20261121-010000-0001", "teardown", ("spark-2", "spark-3"), lost,
           finished("spark-2", "teardown-check", "ok"))  # fmt: skip
    if later:
        name, event = later
        record("20261121-020000-0002", name, (event.host,), event)
    assert list(unfinished(past_runs(), "sparks.yaml")) == left_open
    assert unfinished(past_runs(), "others.yaml") == {}


def record(run: str, verb: str, hosts: tuple[str, ...], *events: object) -> None:
    book = Journal(run, verb)
    book(RunStarted(verb, run, hosts, "sparks.yaml"))
    for event in events:
        book(event)  # type: ignore[arg-type]
    book(RunFinished(verb, run, 0, {}, 1.0))
    book.close()


def test_the_journal_names_the_inventory(cli: Cli) -> None:
    cli("teardown", "--hosts", "spark-2", "-i", INVENTORY, hosts=[down("spark-2")])
    (past,) = past_runs()
    assert past.inventory == short(world.inventory().path)


# The note and the traces


def test_the_note_reads_back_as_it_was_written() -> None:
    note = LaunchSnapshotFact(
        "20261121-031500-9f3a", 124480761856, 2, ("/swap.img", "/dev/dm-1"),
        frozenset({"psm_1", "a name"}), frozenset({1, 5}), frozenset({3}),
    )  # fmt: skip
    assert LAUNCH_SNAPSHOT.parse(note.text()) == note
    assert LAUNCH_SNAPSHOT.parse("") == LaunchSnapshotFact()
    assert LAUNCH_SNAPSHOT.parse("memory\nmemory x\nswap\n\0") == LaunchSnapshotFact()


def test_the_traces_of_this_very_machine() -> None:
    """A file of ours that is mapped nowhere is there; this test's own shell is a process."""
    done = subprocess.run(
        ["/bin/sh", "-s"], input=SHARED_MEMORY.script(context()), text=True, capture_output=True,
        timeout=60,
    )  # fmt: skip
    fact = SHARED_MEMORY.parse(done.stdout)
    assert len(fact.processes) > 1
    assert 1 <= len(fact.largest) <= 3
    assert fact.largest[0][2] >= fact.largest[-1][2] > 0
    assert SHARED_MEMORY.parse("") == type(fact)()


def test_a_failed_removal_is_told_and_the_rest_goes_on(cli: Cli) -> None:
    hosts = [torn("spark-2"), torn("spark-3")]
    hosts[0].on("docker rm --force", failed(1, "device is busy"))
    said = cli("teardown", "--group", "pair", "--set", "teardown-check.seconds=0.05",
               "-i", INVENTORY, hosts=hosts)  # fmt: skip
    assert said.code != 0
    assert "device is busy" in said.out
    assert hosts[1].texts["containers"] == ""


# Over all hosts


def test_a_teardown_needs_no_state_of_its_own(cli: Cli) -> None:
    hosts = [Spark("spark-1"), torn("spark-2"), torn("spark-3")]
    said = cli("teardown", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "nothing of ours runs on spark-1, spark-2, spark-3" in said.out
    assert [host.connections for host in hosts] == [1, 1, 1]
    assert "launch\\ by\\ *" in hosts[1].held[0].script


def test_a_teardown_without_one_host_calls_it_unknown(cli: Cli) -> None:
    hosts = [Spark("spark-1"), torn("spark-2"), down("spark-3")]
    said = cli("teardown", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    assert "unknown: spark-3 was not reached" in said.out
    assert "spark-cluster teardown --resume" in said.out
    assert "nothing of ours runs" not in said.out
    assert hosts[1].texts["containers"] == ""


def test_a_teardown_goes_on_where_another_host_fails(cli: Cli) -> None:
    broken = Spark("spark-1", {"containers": "@@error Cannot connect to the Docker daemon\n"})
    hosts = [broken, torn("spark-2"), torn("spark-3")]
    said = cli("teardown", "--set", "teardown-check.seconds=0.05", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    assert [host.texts["containers"] for host in hosts[1:]] == ["", ""]


def test_a_teardown_may_bring_the_swap_back(cli: Cli) -> None:
    on = swapped("spark-2").texts["swap"]
    host = torn("spark-2").effect("swapon /swap.img", swap=on)
    said = cli("teardown", "--restore-swap", "--hosts", "spark-2", "-i", INVENTORY, hosts=[host])
    assert said.code == 0
    assert host.texts["swap"] == on


def test_a_former_name_of_a_step_works_and_is_told(cli: Cli) -> None:
    said = cli("teardown", "--set", "gone.seconds=0.05", "-i", INVENTORY, hosts=[torn("spark-2")])
    assert "--set gone.seconds=0.05: the step gone is now called teardown-check" in said.out

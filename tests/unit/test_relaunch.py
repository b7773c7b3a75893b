"""relaunch over fake hosts: what it says first, what it refuses, what it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spark_cluster import places
from spark_cluster.core.error import Unreachable
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory
from tests.command_line import Cli

from . import world
from .cases import write
from .switched import RECIPE, SWITCH, both, less_memory, made, runs


def test_a_relaunch_takes_down_and_launches_the_same(
    cli: Cli,
    switch: Inventory,
) -> None:
    hosts = both(switch, "exited")
    said = cli("relaunch", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert f"relaunch of {RECIPE} on spark-2, spark-3" in said.out
    assert "with other settings" not in said.out
    assert f"{RECIPE} is ready" in said.out
    for host in hosts[:2]:
        commands = "".join(host.changes)
        assert commands.index("docker rm --force") < commands.index("docker run")
    assert hosts[2].changes == []


def test_a_relaunch_takes_nothing_down_for_a_launch_that_could_not_begin(
    cli: Cli,
    switch: Inventory,
) -> None:
    hosts = both(switch)
    hosts[1].texts["image"] = ""
    said = cli("relaunch", "-i", str(switch.path), hosts=hosts)
    assert said.code == 4
    assert "could not be launched again, nothing was changed: spark-3: SERVE002" in said.err
    assert [host.changes for host in hosts] == [[], [], []]


@pytest.mark.parametrize(
    ("change", "lack"),
    [
        ("secrets: [VLLM_API_KEY]\n", "SERVE012 VLLM_API_KEY is not set"),
        ("args:\n  gpu-memory-utilization: {value: '0.03', why: a test}\n", "RECIPE001"),
    ],
    ids=["secret", "memory"],
)
def test_what_runs_hides_no_lack_of_the_next_launch(
    cli: Cli, tmp_path: Path, change: str, lack: str
) -> None:
    """A rank that runs has its secret and its memory; its successor must find them, too."""
    shipped = places.shipped("playbooks") / "recipes" / f"{RECIPE}.yaml"
    text = shipped.read_text()
    text = text.replace("args:\n", change, 1) if "args:" in change else text + change
    write(tmp_path / "mine.yaml", text)
    named = f"recipes: {{{RECIPE}: mine.yaml}}\n"
    switch = inventories.load(write(tmp_path / "switch.yaml", SWITCH + named))
    hosts = both(switch)
    said = cli("relaunch", "-i", str(switch.path), hosts=hosts)
    assert said.code == 4
    assert "could not be launched again, nothing was changed" in said.err
    assert lack in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_relaunch_asks_for_a_docker_that_answers(
    cli: Cli,
    switch: Inventory,
) -> None:
    hosts = both(switch)
    hosts[1].texts["containers"] = "@@error docker ps gave no answer within 10 s\n"
    said = cli("relaunch", RECIPE, "-i", str(switch.path), hosts=hosts)
    assert said.code == 4
    assert "spark-3: docker says: docker ps gave no answer within 10 s" in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_relaunch_needs_all_of_its_hosts(cli: Cli, switch: Inventory) -> None:
    hosts = both(switch)
    hosts[0].down = Unreachable("spark-2: no route to host", remedy="Is it on?")
    said = cli("relaunch", "-i", str(switch.path), hosts=hosts)
    assert said.code == 3
    assert f"spark-cluster failover {RECIPE} --without spark-2" in said.err
    assert [host.changes for host in hosts] == [[], [], []]


@pytest.mark.parametrize("named", [(), (RECIPE,)])
def test_a_relaunch_that_reads_no_host_does_not_say_that_nothing_is_launched(
    cli: Cli, switch: Inventory, named: tuple[str, ...]
) -> None:
    hosts = [world.down(name) for name in ("spark-2", "spark-3", "spark-1")]
    said = cli("relaunch", *named, "-i", str(switch.path), hosts=hosts)
    assert said.code == 3
    assert "what is launched cannot be read: spark-2: no route to host; spark-3: no" in said.err
    assert "next: Bring them back; `spark-cluster history` names what" in said.err
    assert "failover" not in said.err


def test_a_launch_on_the_one_host_that_is_away_is_not_called_gone(
    cli: Cli, switch: Inventory
) -> None:
    """No host that answers holds a container of a recipe for one host."""
    hosts = both(switch)
    hosts[2] = world.down("spark-1")
    said = cli("relaunch", "qwen3-32b-fp8", "-i", str(switch.path), hosts=hosts)
    assert said.code == 3
    assert "what is launched cannot be read: spark-1: no route to host; nothing was" in said.err
    assert "`spark-cluster failover qwen3-32b-fp8 --without spark-1`" in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_nothing_is_launched_when_all_hosts_say_so(cli: Cli, switch: Inventory) -> None:
    hosts = both(switch)
    for host in hosts:
        host.texts["containers"] = ""
    said = cli("relaunch", "-i", str(switch.path), hosts=hosts)
    assert said.code == 4
    assert "nothing of ours is launched" in said.err


def test_the_evidence_is_collected_before_anything_is_taken_down(
    cli: Cli,
    switch: Inventory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = both(switch)
    collected: list[Any] = []

    def evidence(_: object, names: Sequence[str], __: object) -> None:
        collected.append((list(names), [host.changes for host in hosts]))

    monkeypatch.setattr("spark_cluster.actions.relaunch.collect", evidence)
    assert cli("relaunch", "--evidence", "-i", str(switch.path), hosts=hosts).code == 0
    assert collected == [(["spark-2", "spark-3"], [[], [], []])]


def test_a_dry_relaunch_changes_nothing(cli: Cli, switch: Inventory) -> None:
    hosts = both(switch)
    for host in hosts:
        host.texts["containers"] = host.texts["containers"].replace('.spec":"', '.spec":"0')
    said = cli("relaunch", "--dry-run", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0
    assert "with other settings than now" in said.out
    (line,) = cli("relaunch", "--dry-run", "--json", "-i", str(switch.path), hosts=hosts).lines
    assert line == {
        "kind": "relaunch",
        "recipe": RECIPE,
        "hosts": ["spark-2", "spark-3"],
        "settings_differ": True,
    }
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_relaunch_that_cannot_take_down_does_not_launch(
    cli: Cli,
    switch: Inventory,
) -> None:
    hosts = both(switch)
    hosts[1].effect("docker rm --force", containers=hosts[1].texts["containers"])
    shipped = (places.shipped("playbooks") / "teardown.yaml").read_text(encoding="utf-8")
    write(Path("playbooks/teardown.yaml"), shipped.replace("{seconds: 60}", "{seconds: 0.05}"))
    said = cli("relaunch", "-i", str(switch.path), hosts=hosts)
    assert said.code != 0
    assert "was not launched: the teardown is not complete" in said.out
    assert not any("docker run" in text for host in hosts for text in host.changes)


def test_memory_that_others_took_since_keeps_no_relaunch(cli: Cli, switch: Inventory) -> None:
    hosts = both(switch)
    less_memory(hosts[1])
    said = cli("relaunch", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert "SERVE014 memory is not back: 122 GiB available before the launch" in said.out
    assert f"nothing of {RECIPE} is left on spark-3, though less memory is available" in said.out
    assert f"{RECIPE} is ready" in said.out


def test_what_was_left_on_a_host_that_is_back_is_not_relaunched(
    cli: Cli, switch: Inventory
) -> None:
    """After a failover from spark-2, which holds its old container when it is switched on."""
    hosts = both(switch, "exited")
    after = made(switch, ("spark-3", "spark-1"))
    for host in hosts[1:]:
        host.texts["containers"] = runs(after, host.name).replace(world.RUN, "20261122-000000-1111")
    hosts[1].effect("docker run", containers=runs(after, "spark-3"), server=world.SERVER_UP)
    hosts[2].effect("docker rm --force", containers="")
    said = cli("relaunch", RECIPE, "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert f"relaunch of {RECIPE} on spark-3, spark-1" in said.out
    assert hosts[0].changes == []


def test_a_group_that_another_inventory_made_is_left_alone(
    cli: Cli,
    switch: Inventory,
) -> None:
    hosts = both(switch)
    for host in hosts[:2]:
        host.texts["containers"] = host.texts["containers"].replace("-2,spark-3", "-9,spark-3")
    said = cli("relaunch", "-i", str(switch.path), hosts=hosts)
    assert said.code == 3
    assert "spark-9 is not in " in said.err
    assert [host.changes for host in hosts] == [[], [], []]

"""relaunch and failover over fake hosts: what they say first, what they refuse, what they do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spark_cluster import places
from spark_cluster.cli.deploying import Choices, deploy, load_recipe
from spark_cluster.cli.failover import candidates
from spark_cluster.core.error import CheckFailed, Unreachable
from spark_cluster.engines.placement import place
from spark_cluster.engines.spec import LABEL, Deployment
from spark_cluster.facts.table import FACTS
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory
from spark_cluster.steps.launched import Launched, choose, launched, others, to_take_down
from tests.command_line import Cli

from . import world
from .cases import write
from .world import INVENTORY, Spark, down, healthy, launching
from .world import serving as pair_serving

RECIPE = "qwen3-vl-235b-mp"

SWITCH = """\
version: 1
hosts:
  spark-2:
    rails:
      - {interface: enp1s0f1np1, device: rocep1s0f1, address: 192.168.100.10/24}
      - {interface: enP2p1s0f1np1, device: roceP2p1s0f1, address: 192.168.101.10/24}
  spark-3:
    rails:
      - {interface: enp1s0f1np1, device: rocep1s0f1, address: 192.168.100.11/24}
      - {interface: enP2p1s0f1np1, device: roceP2p1s0f1, address: 192.168.101.11/24}
  spark-1:
    rails:
      - {interface: enp1s0f1np1, device: rocep1s0f1, address: 192.168.100.12/24}
      - {interface: enP2p1s0f1np1, device: roceP2p1s0f1, address: 192.168.101.12/24}
groups:
  pair: [spark-2, spark-3]
"""


@pytest.fixture
def switch(tmp_path: Path) -> Inventory:
    """Three Sparks on one switch; the pair serves."""
    return inventories.load(write(tmp_path / "switch.yaml", SWITCH))


def made(inventory: Inventory, hosts: tuple[str, ...], **choices: Any) -> Deployment:
    chosen = Choices(hosts=hosts, **choices)
    return deploy(inventory, load_recipe(inventory, RECIPE, chosen), chosen, world.RUN)[0]


def runs(deployment: Deployment, host: str, state: str = "running") -> str:
    """`containers` on a host on which its rank of the deployment is."""
    spec = deployment.container(host)
    labels = json.dumps({**spec.labels, f"{LABEL}.spec": spec.digest}, separators=(",", ":"))
    lines = [f"c /{spec.name} {state} 0 2026-11-21T03:15:42Z {labels}"]
    lines += [f"p 4211 {' '.join(spec.command)}"] if state == "running" else []
    return "\n".join(lines) + "\n"


def able(host: str, deployment: Deployment) -> Spark:
    """A host of the switch on which a rank of the deployment can be started and taken down."""
    texts = {}
    if host == "spark-1":
        for fact in FACTS:
            text = healthy(fact, "spark-2").replace("640a", "640c").replace("650a", "650c")
            texts[fact] = text.replace("100.10", "100.12").replace("101.10", "101.12")
    spark = Spark(host, texts)
    spark.carries = world.TOKEN_UNITS
    up = {"server": world.SERVER_UP} if host == deployment.head else {}
    spark.effect("docker rm --force", containers="")
    spark.effect("docker run", containers=runs(deployment, host), **up)
    for file in deployment.files:
        spark.effect(file.path, files=file.path)
    return spark


# What the labels tell


def test_the_labels_tell_what_was_launched(switch: Inventory) -> None:
    chosen = made(switch, ("spark-2", "spark-3"), options=("debug",))
    facts = {
        host: world.facts(host, {"containers": runs(chosen, host, state)})
        for host, state in (("spark-2", "exited"), ("spark-3", "running"))
    }
    (found,) = launched(facts)
    assert (found.recipe, found.group) == (RECIPE, ("spark-2", "spark-3"))
    assert (found.profile, found.options) == (None, ("debug",))
    assert dict(found.hosts) == {host: chosen.container(host).digest for host in chosen.hosts}


def test_without_choices_a_specification_is_what_it_was(switch: Inventory) -> None:
    plain = made(switch, ("spark-2", "spark-3"))
    assert not {f"{LABEL}.profile", f"{LABEL}.options"} & set(plain.containers[0].labels)
    assert plain.containers[0].digest == world.deployment(RECIPE).containers[0].digest


def test_one_launch_must_be_meant(switch: Inventory) -> None:
    pair = made(switch, ("spark-2", "spark-3"))
    other = 'c /other running 0 t {"spark-cluster.recipe":"other"}\n'
    facts = {
        "spark-3": world.facts("spark-3", {"containers": runs(pair, "spark-3")}),
        "spark-1": world.facts("spark-1", {"containers": other}),
    }
    found = launched(facts)
    assert choose(found, RECIPE).group == ("spark-2", "spark-3")
    assert choose(found, "other").group == ("spark-1",)
    with pytest.raises(CheckFailed, match="more than one launch"):
        choose(found)
    with pytest.raises(CheckFailed, match=r"qwen is not launched; there is .* on spark-2, spark-3"):
        choose(found, "qwen")
    with pytest.raises(CheckFailed, match="nothing of ours is launched"):
        choose([])
    assert others(found, [choose(found, RECIPE)], RECIPE, ("spark-3", "spark-1")) == [
        "spark-1 holds other: `spark-cluster teardown other` frees it"
    ]


def launch(run: str, *group: str, running: bool = True) -> Launched:
    return Launched(RECIPE, group, None, (), dict.fromkeys(group, "x"), run=run, running=running)


#: `left` is what the host that failed holds of it when it is back.
LEFT = launch("20261121-03", "spark-1", "spark-2", running=False)
MOVED = launch("20261121-04", "spark-2", "spark-3")
REPLICA = launch("20261121-02", "spark-3", "spark-4")


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        ([LEFT, MOVED], MOVED),
        ([MOVED, LEFT], MOVED),
        ([LEFT, launch("20261121-04", "spark-3", "spark-4")], "spark-3"),
        ([launch("20261121-05", "spark-1", "spark-2", running=False), REPLICA], "spark-1"),
        ([launch("20261121-03", "spark-1", "spark-2"), MOVED], MOVED),
    ],
    ids=["returned", "order", "elsewhere", "the newer is dead", "both run and share a host"],
)
def test_what_an_earlier_launch_left_is_not_meant(
    found: list[Launched], meant: Launched | str
) -> None:
    chosen = choose(found, RECIPE)
    assert chosen == meant or chosen.group[0] == meant
    assert choose(found) == chosen


def test_two_that_run_apart_are_two() -> None:
    found = [launch("20261121-03", "spark-1", "spark-2"), REPLICA]
    with pytest.raises(CheckFailed, match="more than one launch is meant") as raised:
        choose(found, RECIPE)
    assert f"`spark-cluster teardown {RECIPE} --hosts spark-3,spark-4`" in raised.value.remedy


@pytest.mark.parametrize(
    ("avoided", "ended"),
    [
        (["spark-1"], [LEFT]),
        (["spark-3"], [MOVED, LEFT]),  # what was left of it before goes, too
        (["spark-2"], [MOVED, LEFT]),
        (["spark-5"], [LEFT]),
    ],
)
def test_a_failover_ends_what_was_on_the_host_and_what_is_left(
    avoided: list[str], ended: list[Launched]
) -> None:
    assert to_take_down([LEFT, MOVED], RECIPE, avoided) == ended


def test_a_failover_leaves_a_replica_on_other_hosts() -> None:
    first = launch("20261121-03", "spark-1", "spark-2")
    assert to_take_down([first, REPLICA], RECIPE, ["spark-2"]) == [first]
    assert to_take_down([first, REPLICA], "other", ["spark-2"]) == []


# relaunch


def both(switch: Inventory, state: str = "running") -> list[Spark]:
    deployment = made(switch, ("spark-2", "spark-3"))
    hosts = [able(name, deployment) for name in deployment.hosts]
    for host in hosts:
        host.texts["containers"] = runs(deployment, host.name, state)
    return [*hosts, able("spark-1", made(switch, ("spark-3", "spark-1")))]


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
    hosts[1].texts["containers"] = "error docker ps gave no answer within 10 s\n"
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


def test_the_evidence_is_collected_before_anything_is_taken_down(
    cli: Cli,
    switch: Inventory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = both(switch)
    collected: list[Any] = []

    def evidence(**given: Any) -> int:
        collected.append((given["hosts"], [host.changes for host in hosts]))
        return 3

    monkeypatch.setattr("spark_cluster.cli.evidence.evidence", evidence)
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


def less_memory(host: Spark) -> None:
    """Since its launch something else has taken memory; teardown waits for it for a moment."""
    host.texts["before"] = "run 20261118-031500-1111\nmemory 131072000000\n"
    shipped = (places.shipped("playbooks") / "teardown.yaml").read_text(encoding="utf-8")
    write(Path("playbooks/teardown.yaml"), shipped.replace("{seconds: 60}", "{seconds: 0.05}"))


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


# failover


def test_candidates_are_groups_first_then_the_rest(switch: Inventory) -> None:
    recipe = load_recipe(switch, RECIPE, Choices())
    assert list(candidates(switch, recipe, [])) == [
        ("spark-2", "spark-3"), ("spark-2", "spark-1"), ("spark-3", "spark-1"),
    ]  # fmt: skip
    assert list(candidates(switch, recipe, ["spark-2"])) == [("spark-3", "spark-1")]
    assert list(candidates(switch, recipe, ["spark-2", "spark-3"])) == []


@pytest.mark.parametrize("lost", ["spark-1", "spark-2", "spark-3"])
def test_in_a_ring_any_two_that_are_left_have_a_cable(lost: str) -> None:
    ring = inventories.load(places.shipped("inventory") / "examples" / "ring.yaml")
    recipe = load_recipe(ring, RECIPE, Choices())
    (hosts,) = candidates(ring, recipe, [lost])
    there = place(recipe, ring, "left", hosts)
    assert lost not in hosts
    assert {rail.network for rail in there.rails[0]} == {rail.network for rail in there.rails[1]}


def dead(switch: Inventory) -> list[Spark]:
    hosts = both(switch)
    hosts[0].down = Unreachable("spark-2: no route to host", remedy="Is it on?")
    after = made(switch, ("spark-3", "spark-1"))
    hosts[1].effect("docker run", containers=runs(after, "spark-3"), server=world.SERVER_UP)
    return hosts


def test_one_command_serves_on_the_other_two(cli: Cli, switch: Inventory) -> None:
    hosts = dead(switch)
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert "takes down what is left of it on spark-2, spark-3" in said.out
    assert "serves on spark-3, spark-1, head spark-3: nothing is missing there" in said.out
    assert "unknown: spark-2 was not reached" in said.out
    assert f"{RECIPE} is ready: http://192.168.100.11:8000" in said.out
    assert f"--master-addr 192.168.100.11" in "".join(hosts[2].changes)  # noqa: F541
    hosts[0].down = None
    resumed = cli("teardown", "--resume", "-i", str(switch.path), hosts=hosts)
    assert resumed.code == 0
    assert f"teardown {RECIPE} on spark-2 " in resumed.out
    assert hosts[0].texts["containers"] == ""
    assert "docker rm" not in "".join(hosts[2].changes)


def unplugged(host: Spark, device: str) -> None:
    state = f"{device}/ports/1/state:"
    text = host.texts.get("access") or healthy("access", host.name)
    assert f"{state}4: ACTIVE" in text
    host.texts["access"] = text.replace(f"{state}4: ACTIVE", f"{state}1: DOWN")


def test_a_rail_that_the_recipe_does_not_use_may_be_down(cli: Cli, switch: Inventory) -> None:
    """In a ring the rails towards the dead host have no carrier."""
    hosts = dead(switch)
    for host in hosts[1:]:
        unplugged(host, "roceP2p1s0f1")
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err


def test_a_rail_that_it_uses_is_asked_for_before_anything_is_taken_down(
    cli: Cli, switch: Inventory
) -> None:
    hosts = dead(switch)
    unplugged(hosts[2], "rocep1s0f1")
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 4
    assert "spark-1: RDMA002 rocep1s0f1 port 1 is DOWN" in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_dry_failover_says_what_it_would_do(cli: Cli, switch: Inventory) -> None:
    hosts = dead(switch)
    arguments = ["failover", RECIPE, "--without", "spark-2", "--dry-run", "-i", str(switch.path)]
    assert cli(*arguments, hosts=hosts).code == 0
    (line,) = cli(*arguments, "--json", hosts=hosts).lines
    assert line == {
        "kind": "failover",
        "recipe": RECIPE,
        "without": ["spark-2"],
        "hosts": ["spark-3", "spark-1"],
        "takes_down": ["spark-2", "spark-3"],
        "choices_known": True,
        "rejected": [],
    }
    assert [host.changes for host in hosts] == [[], [], []]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ({"image": ""}, "spark-1: SERVE002"),
        ({"image": ""}, "image sync nvcr.io/nvidia/vllm:26.05-py3 --to spark-3,spark-1"),
        ({"model": ""}, "spark-1: SERVE004"),
        ({"model": ""}, f"spark-cluster model sync {RECIPE} --to spark-3,spark-1"),
        ({"memory": "MemTotal: 125411328 kB\nMemAvailable: 5 kB\n"}, "spark-1: SERVE001"),
        (
            {"containers": 'c /x running 0 t {"spark-cluster.recipe":"other"}\n'},
            "spark-1 holds other: `spark-cluster teardown other` frees it",
        ),
    ],
)
def test_what_is_missing_is_said_and_nothing_changed(
    cli: Cli,
    switch: Inventory,
    texts: dict[str, str],
    says: str,
) -> None:
    hosts = dead(switch)
    hosts[2].texts |= texts
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 4
    assert f"no hosts can carry {RECIPE} without spark-2; nothing was changed" in said.err
    assert says in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_memory_that_others_took_since_keeps_no_failover(cli: Cli, switch: Inventory) -> None:
    hosts = dead(switch)
    less_memory(hosts[1])
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert f"nothing of {RECIPE} is left on spark-3, though less memory is available" in said.out


ALONE = "qwen3-32b-fp8"


def alone(switch: Inventory, host: str) -> Deployment:
    chosen = Choices(hosts=(host,))
    return deploy(switch, load_recipe(switch, ALONE, chosen), chosen, world.RUN)[0]


def able_alone(switch: Inventory, host: str) -> Spark:
    spark = able(host, alone(switch, host))
    spark.texts["model"] = spark.texts["model"].replace(
        "QuantTrio--Qwen3-VL-235B-A22B-Instruct-AWQ", "Qwen--Qwen3-32B-FP8"
    )
    return spark


def test_a_replica_goes_on_when_the_other_fails_over(cli: Cli, switch: Inventory) -> None:
    hosts = [able_alone(switch, name) for name in ("spark-2", "spark-3", "spark-1")]
    for host in hosts[:2]:
        host.texts["containers"] = runs(alone(switch, host.name), host.name)
    said = cli("failover", ALONE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert "takes down what is left of it on spark-2\n" in said.out
    assert f"not on spark-3: spark-3 holds {ALONE} already, launched on spark-3" in said.out
    assert "serves on spark-1: nothing is missing there" in said.out
    assert "cannot be read" not in said.out
    assert hosts[1].changes == []


def test_a_host_that_took_its_labels_along_is_finished_when_it_is_back(
    cli: Cli, switch: Inventory
) -> None:
    """A recipe of one host: nothing that answers holds a container of it."""
    hosts = [able_alone(switch, name) for name in ("spark-2", "spark-3", "spark-1")]
    hosts[0].texts["containers"] = runs(alone(switch, "spark-2"), "spark-2")
    hosts[0].down = Unreachable("spark-2: no route to host", remedy="Is it on?")
    said = cli("failover", ALONE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert "takes down what is left of it on spark-2\n" in said.out
    assert "how it was launched cannot be read: it gets the recipe's defaults" in said.out
    assert f"{ALONE} is ready" in said.out
    hosts[0].down = None
    resumed = cli("teardown", "--resume", "-i", str(switch.path), hosts=hosts)
    assert resumed.code == 0
    assert f"teardown {ALONE} on spark-2 " in resumed.out
    assert hosts[0].texts["containers"] == ""
    assert "docker rm" not in "".join(hosts[1].changes)


def test_hosts_without_a_cable_between_them_are_no_candidates(cli: Cli) -> None:
    """spark-1 of the shipped inventory is on the 10GbE network only."""
    hosts = [Spark("spark-1"), down("spark-2"), pair_serving("spark-3")]
    said = cli("failover", "qwen3-vl-235b", "--without", "spark-2", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    assert "spark-1, spark-3: no fabric: spark-1 has 0 rails" in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_too_few_hosts_are_left(cli: Cli) -> None:
    hosts: Sequence[Spark] = [launching("spark-2")]
    said = cli("failover", "qwen3-vl-235b", "--without", "spark-2,spark-3", "-i", INVENTORY,
               hosts=hosts)  # fmt: skip
    assert said.code == 2
    assert "needs 2 hosts, and so many are not left without spark-2, spark-3" in said.err

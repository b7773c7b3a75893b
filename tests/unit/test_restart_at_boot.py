"""`launch --restart-at-boot` over fake hosts, and what it writes and removes, by a real sh."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.actions import status as status_rows
from spark_cluster.actions.deploying import Choices, deploy, load_recipe
from spark_cluster.cli.views import status as status_view
from spark_cluster.core.labels import RESTARTS
from spark_cluster.core.step import Assessment, Change
from spark_cluster.facts.base import Facts, ProbeContext
from spark_cluster.facts.supervisor import (
    DECLINED,
    NAME,
    SCRIPT,
    SUPERVISOR,
    UNIT,
    SupervisorFact,
)
from spark_cluster.runner.outcome import change_script
from spark_cluster.steps import registry, supervisor
from spark_cluster.steps.view import Options
from spark_cluster.workload.launched import launched
from tests.command_line import Cli

from . import world
from .cases import write
from .world import INVENTORY, Spark, launching, torn

STEP = registry()["restart-at-boot"]

#: What the fact's shell is, on any host.
PROBE = SUPERVISOR.script(ProbeContext(world.inventory().hosts["spark-2"], world.inventory()))


def running_view(host: str, text: str = "") -> Any:
    ranks = {name: {"containers": world.running(name)} for name in world.PAIR}
    ranks[host] |= {"supervisor": text}
    return world.view(host, ranks)


def supervised(host: str, says: str = "runs") -> str:
    """`supervisor` on a host of the shipped recipe, as its shell prints it."""
    view = running_view(host)
    script = supervisor.script(view, port=29477, swap="off")
    return (
        f"sum {supervisor.digest(supervisor.unit(view))}  {UNIT}\n"
        f"sum {supervisor.digest(script)}  {SCRIPT}\n"
        f"RECIPE {world.RECIPE}\nRANK {view.spec.rank}\nLAUNCH {world.RUN}\n"
        f"ActiveState=active\nUnitFileState=enabled\nsays {says}\n"
    )


def assess(host: str, text: str, **params: object) -> Assessment:
    found: Assessment = STEP.assess(running_view(host, text), STEP.params(**params))
    return found


# The step


@pytest.mark.parametrize("host", world.PAIR)
@pytest.mark.parametrize("state", ["on", "keep"])
def test_what_is_as_wanted_is_left_alone(host: str, state: str) -> None:
    found = assess(host, supervised(host), state=state)
    assert found.settled
    assert "started again when it ends, and at boot" in found.notes[0]


@pytest.mark.parametrize(
    ("old", "new", "before"),
    [
        ("=enabled", "=disabled", "not enabled"),
        ("=active", "=failed", "not running"),
        ("sum ", "sum 0", "another version"),
    ],
)
def test_what_is_not_quite_as_wanted_is_mended(old: str, new: str, before: str) -> None:
    found = assess("spark-2", supervised("spark-2").replace(old, new), state="on")
    assert [change.before for change in found.changes] == [before]


@pytest.mark.parametrize(
    ("says", "waits_for"),
    [
        ("runs; spark-3 does not answer on 192.168.100.11:29477", "spark-3 does not answer"),
        ("", "it has said nothing yet"),
    ],
)
def test_the_supervisors_must_hear_each_other(says: str, waits_for: str) -> None:
    found = assess("spark-2", supervised("spark-2", says), state="on")
    assert not found.changes
    assert waits_for in found.waiting[0]
    assert [fault.code for fault in found.problems] == ["SERVE013"]


# Its files, on a host in a folder


class Node:
    """A host in a folder. systemctl writes down what it was told, and knows a unit by its file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.program(
            "systemctl",
            'echo "$*" >> "$ROOT/log"\n'
            'case "$1" in\n'
            '  enable) touch "$ROOT/enabled" ;;\n'
            '  restart) touch "$ROOT/active" ;;\n'
            '  stop) rm -f "$ROOT/active" ;;\n'
            "  show)\n"
            '    if [ -e "$ROOT/active" ]; then echo ActiveState=active; '
            "else echo ActiveState=inactive; fi\n"
            f'    if [ -e "$ROOT{UNIT}" ] && [ -e "$ROOT/enabled" ]; then\n'
            "      echo UnitFileState=enabled\n    fi ;;\nesac\n",
        )
        for name in ("python3", "curl", "setpriv", "logger"):
            self.program(name, ":\n")

    def program(self, name: str, text: str) -> None:
        write(self.root / "bin" / name, f"#!/bin/sh\n{text}").chmod(0o755)

    def sh(self, script: str) -> subprocess.CompletedProcess[str]:
        for place in ("/etc/systemd", "/usr/local/lib", "/run/spark-cluster-rank", "/var/lib"):
            script = script.replace(place, f"{self.root}{place}")
        return subprocess.run(
            ["/bin/sh", "-s"],
            input=script,
            text=True,
            capture_output=True,
            timeout=60,
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin", "ROOT": str(self.root)},
        )

    def apply(self, changes: tuple[Change, ...]) -> None:
        commands = "".join(change.commands for change in changes)
        done = self.sh(change_script(world.RUN, STEP.name, commands))
        assert (done.returncode, done.stderr) == (0, "")

    @property
    def fact(self) -> SupervisorFact:
        text = self.sh(PROBE).stdout
        return SUPERVISOR.parse(text.replace(str(self.root), ""))

    @property
    def files(self) -> list[str]:
        return [str(p) for p in self.root.rglob("*rank*") if not p.is_dir()]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_second_reading_shows_no_difference(node: Node) -> None:
    assert node.fact == SupervisorFact()
    node.apply(assess("spark-2", "", state="on").changes)
    assert (node.root / f".{SCRIPT}").stat().st_mode & 0o777 == 0o755
    found = node.fact
    assert (found.recipe, found.rank, found.launch) == (world.RECIPE, "0", world.RUN)
    assert found.enabled
    assert found.active
    # The folders of this test stand in the files: what differs is only that.
    assert set(found.sums) == {UNIT, SCRIPT}
    node.apply(assess("spark-2", supervised("spark-2"), state="off").changes)
    assert not node.fact.present
    assert node.files == []


@pytest.mark.parametrize(
    "systemctl",
    ["exit 1\n", 'case "$1" in stop) sleep 300 ;; kill) rm -f "$ROOT/active" ;; esac\n'],
)
def test_the_next_boot_starts_nothing_whatever_systemd_does(node: Node, systemctl: str) -> None:
    node.apply(assess("spark-2", "", state="on").changes)
    node.program("systemctl", systemctl)
    node.program("timeout", 'shift 3\nexec /usr/bin/timeout 1 "$@"\n')
    node.apply(assess("spark-2", supervised("spark-2"), state="off").changes)
    assert node.files == []


def test_a_supervisor_that_outlives_its_files_is_seen(node: Node) -> None:
    write(node.root / "active", "")
    assert node.fact.present
    found = assess("spark-2", "ActiveState=active\n", state="off")
    assert [change.before for change in found.changes] == ["there"]


def test_what_is_missing_is_named(node: Node) -> None:
    (node.root / "bin/setpriv").unlink()
    path = f"{node.root}/bin"
    done = subprocess.run(
        ["/bin/sh", "-c", PROBE], text=True, capture_output=True, env={"PATH": path}
    )
    assert SUPERVISOR.parse(done.stdout).missing == ("setpriv",)


# The verbs


def able(host: str) -> Spark:
    """A host on which a launch succeeds, with a supervisor or without."""
    spark = launching(host)
    spark.effect(f"systemctl restart {NAME}", supervisor=supervised(host))
    spark.effect(f"systemctl stop {NAME}", supervisor="")
    return spark


def pair() -> list[Spark]:
    return [able(name) for name in world.PAIR]


def order(host: Spark, *parts: str) -> list[int]:
    """Which of the host's scripts hold these parts, the first of each."""
    return [next(i for i, text in enumerate(host.changes) if part in text) for part in parts]


def test_launch_installs_it_when_a_token_has_come_back(cli: Cli) -> None:
    hosts = pair()
    said = cli("launch", world.RECIPE, "--restart-at-boot", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0, said.out
    assert "restarts at boot on spark-2, spark-3, and when a rank ends" in said.out
    for host in hosts:
        started, installed = order(host, "docker run", f"systemctl restart {NAME}")
        assert started < installed
    again = cli("launch", world.RECIPE, "--restart-at-boot", "--json", "-i", INVENTORY, hosts=hosts)
    assert again.code == 0
    assert again.lines[-1]["data"]["restarts_at_boot"] is True
    assert "changed" not in again.lines[-1]["counts"]


def test_launch_does_not_install_it_unasked(cli: Cli) -> None:
    hosts = pair()
    said = cli("launch", world.RECIPE, "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "restarts at boot" not in said.out
    assert not any(NAME in text for host in hosts for text in host.changes)


def test_a_later_launch_keeps_it_until_told_otherwise(cli: Cli) -> None:
    hosts = pair()
    cli("launch", world.RECIPE, "--restart-at-boot", "-i", INVENTORY, hosts=hosts)
    kept = cli("launch", world.RECIPE, "-i", INVENTORY, hosts=hosts)
    assert "is already up" in kept.out
    assert "restarts at boot on spark-2, spark-3" in kept.out
    off = cli("launch", world.RECIPE, "--no-restart-at-boot", "-i", INVENTORY, hosts=hosts)
    assert off.code == 0
    assert f"{UNIT}: there, for {world.RECIPE} -> gone" in off.out
    assert "restarts at boot on" not in off.out
    assert [host.texts["supervisor"] for host in hosts] == ["", ""]


def test_a_failed_launch_is_left_for_its_logs(cli: Cli) -> None:
    hosts = pair()
    hosts[0].effect("docker exec --detach", server="RuntimeError: CUDA error: x\n@@health\n")
    hosts[0].on("/v1/completions", "@@http 500 0.21 s \n")
    said = cli("launch", world.RECIPE, "--restart-at-boot", "--set", "ready.minutes=0.01",
               "-i", INVENTORY, hosts=hosts)  # fmt: skip
    assert said.code != 0
    assert not any(NAME in text for host in hosts for text in host.changes)


def test_supervisors_that_do_not_hear_each_other_are_no_success(cli: Cli) -> None:
    hosts = pair()
    deaf = "runs; spark-3 does not answer on 192.168.100.11:29477"
    hosts[0].effect(f"systemctl restart {NAME}", supervisor=supervised("spark-2", deaf))
    said = cli("launch", world.RECIPE, "--restart-at-boot", "--set",
               "restart-at-boot.seconds=0.1", "-i", INVENTORY, hosts=hosts)  # fmt: skip
    assert said.code == 4
    assert f"SERVE013 the supervisor of rank 0: {deaf}" in said.out


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_teardown_removes_it_before_it_stops_anything(
    cli: Cli,
    force: tuple[str, ...],
) -> None:
    hosts = [torn("spark-2"), torn("spark-3")]
    for host in hosts:
        host.texts["supervisor"] = supervised(host.name)
        host.effect(f"systemctl stop {NAME}", supervisor="")
    said = cli("teardown", "--group", "pair", *force, "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert f"{UNIT}: there, for {world.RECIPE} -> gone" in said.out
    for host in hosts:
        removed, stopped = order(host, f"systemctl stop {NAME}", "docker rm")
        assert removed < stopped


def test_a_supervisor_that_stays_is_no_success(cli: Cli) -> None:
    """And the containers are taken down all the same: it makes none."""
    host = torn("spark-2")
    host.texts["supervisor"] = supervised("spark-2")
    host.effect(f"systemctl stop {NAME}", supervisor="ActiveState=active\n")
    said = cli("teardown", "--hosts", "spark-2", "-i", INVENTORY, hosts=[host])
    assert said.code == 1
    assert f"{UNIT} is still there" in said.out
    assert host.texts["containers"] == ""


def test_an_orphan_without_a_container_is_removed(cli: Cli) -> None:
    host = Spark("spark-2", {"supervisor": supervised("spark-2", "there is no vllm-head")})
    host.effect(f"systemctl stop {NAME}", supervisor="")
    said = cli("teardown", "--hosts", "spark-2", "-i", INVENTORY, hosts=[host])
    assert said.code == 0
    assert host.texts["supervisor"] == ""


def test_a_relaunch_keeps_it(cli: Cli) -> None:
    hosts = [Spark("spark-1"), *pair()]
    for host in hosts[1:]:
        host.texts |= {"containers": world.running(host.name), "ray": world.ray_nodes(),
                       "server": world.SERVER_UP, "supervisor": supervised(host.name)}  # fmt: skip
        host.effect("docker rm --force", containers="")
    said = cli("relaunch", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert "restarts at boot on spark-2, spark-3" in said.out
    for host in hosts[1:]:
        removed, installed = order(host, f"systemctl stop {NAME}", f"systemctl restart {NAME}")
        assert removed < installed


def marked(host: str) -> str:
    """`containers` on a host of a launch with --restart-at-boot."""
    return world.running(host).replace("{", f'{{"{RESTARTS}":"on",', 1)


def test_the_wish_is_a_label_and_no_setting() -> None:
    chosen, plain = (
        deploy(world.inventory(), load_recipe(world.inventory(), world.RECIPE, choices), choices,
               world.RUN)[0].containers[0]
        for choices in (Choices(restart_at_boot=True), Choices())
    )  # fmt: skip
    assert (chosen.labels[RESTARTS], RESTARTS in plain.labels) == ("on", False)
    assert chosen.digest == plain.digest


@pytest.mark.parametrize(
    ("containers", "supervisor", "restarts"),
    [
        (marked, "", True),
        (marked, "declined 20261101-000000-0000\n", True),
        (marked, f"declined {world.RUN}\n", False),
        (marked, f"declined {world.RUN}\nRECIPE {world.RECIPE}\n", True),
        (world.running, "", False),
    ],
    ids=["its launch failed", "of an earlier launch", "turned off", "turned on again", "never"],
)
def test_the_wish_outlives_a_launch_that_failed(
    containers: Callable[[str], str], supervisor: str, restarts: bool
) -> None:
    facts = {
        name: world.facts(name, {"containers": containers(name), "supervisor": supervisor})
        for name in world.PAIR
    }
    (found,) = launched(facts)
    assert found.restarts is restarts


def test_a_relaunch_that_fails_forgets_no_restart(cli: Cli) -> None:
    """The canary fails (exit code 4), so that no supervisor is installed; the next one has it."""
    hosts = [Spark("spark-1"), *pair()]
    for host in hosts[1:]:
        host.texts |= {"containers": world.running(host.name), "ray": world.ray_nodes(),
                       "server": world.SERVER_UP, "supervisor": supervised(host.name)}  # fmt: skip
        host.effect("docker rm --force", containers="")
        host.effect("docker run", containers=marked(host.name))
    hosts[1].effect("docker exec --detach", containers=marked("spark-2"))
    hosts[1].on("/v1/completions", "@@http 500 0.21 s \n")
    failed = cli("relaunch", "-i", INVENTORY, hosts=hosts)
    assert failed.code == 4
    again = f"nothing starts {world.RECIPE} again at boot until a launch with --restart-at-boot"
    assert again in failed.out
    assert all(f"{RESTARTS}=on" in "".join(host.changes) for host in hosts[1:])
    hosts[1].on("/v1/completions", world.ONE_TOKEN)
    said = cli("relaunch", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert "restarts at boot on spark-2, spark-3" in said.out


def test_what_is_turned_off_stays_off(node: Node) -> None:
    """A container keeps its label: the choice lies beside it until the teardown."""
    ranks = {name: {"containers": marked(name)} for name in world.PAIR}
    off = STEP.params(state="off")
    found = STEP.assess(world.view("spark-2", ranks), off)
    assert [(change.what, change.after) for change in found.changes] == [
        (DECLINED, f"launch {world.RUN}")
    ]
    node.apply(found.changes)
    assert node.fact.declined == world.RUN
    ranks["spark-2"]["supervisor"] = f"declined {world.RUN}\n"
    assert STEP.assess(world.view("spark-2", ranks), off).settled
    end = replace(world.view("spark-2", ranks), deployment=None)
    found = STEP.assess(end, off)
    assert [(change.what, change.after) for change in found.changes] == [(DECLINED, "gone")]
    other = replace(end, options=Options(recipe="other"))
    assert not STEP.assess(other, off).changes
    node.apply(found.changes)
    assert node.fact == SupervisorFact()


def test_what_was_launched_remembers_it() -> None:
    texts = {"spark-2": {}, "spark-3": {"supervisor": supervised("spark-3")}}
    facts = {
        name: world.facts(name, {"containers": world.running(name), **texts[name]})
        for name in world.PAIR
    }
    (found,) = launched(facts)
    assert found.restarts


# status


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", []),
        (supervised("spark-2"), [f"restarts at boot: {world.RECIPE}, rank 0"]),
        (
            supervised("spark-2", "waits: spark-3 does not answer on 192.168.100.11:29477"),
            [f"restarts at boot: {world.RECIPE}, rank 0; waits: spark-3 does not answer on "
             "192.168.100.11:29477"],
        ),
        (
            supervised("spark-2").replace("=active", "=failed"),
            [f"restarts at boot: {world.RECIPE}, rank 0, but its unit does not run"],
        ),
        (
            supervised("spark-2").replace("=enabled", "=disabled"),
            [f"restarts at boot: {world.RECIPE}, rank 0, but its unit is not enabled"],
        ),
    ],
)  # fmt: skip
def test_status_says_what_comes_back(text: str, line: list[str]) -> None:
    given = {fact.name: world.healthy(fact.name, "spark-2") for fact in status_rows.TWICE}
    given["supervisor"] = text
    facts = Facts({fact.name: fact.parse(given[fact.name]) for fact in status_rows.TWICE})
    host = world.inventory().hosts["spark-2"]
    row = status_rows.row(host, status_rows.before_of(facts), facts)
    assert list(status_view.supervisor(row)) == line
    assert (row["restarts_at_boot"] is None) == (not line)

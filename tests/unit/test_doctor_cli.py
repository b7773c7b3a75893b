"""`spark-cluster doctor` over fake hosts: one exec, exit codes, --json, --fix."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from spark_cluster.core.error import Unreachable
from tests.command_line import Cli, Said

from . import world
from .test_doctor import CLOCK, HOSTS, text
from .world import INVENTORY, Spark

OWN = (
    "hardware", "routes", "firewall", "login", "memory-pressure", "cache", "software", "gpu-state",
    "clock",
)  # fmt: skip

Doctor = Callable[..., Said]


@pytest.fixture
def doctor(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Run `spark-cluster doctor …`; `hosts` answer."""
    monkeypatch.setattr("spark_cluster.actions.doctor.time.time", lambda: CLOCK.after)
    return functools.partial(cli, "doctor", "-i", INVENTORY)


def whole(name: str, **texts: str) -> Spark:
    """A healthy host that also answers the doctor's own facts."""
    return Spark(name, {fact: text(fact, name) for fact in OWN} | texts)


def swapped(name: str) -> Spark:
    on = world.healthy("swap", name).replace(
        "Priority\n", "Priority\n/swap.img                               file\t8388604\t0\t-2\n"
    )
    return whole(name, swap=on).effect("swapoff /swap.img", swap=world.healthy("swap", name))


def test_a_healthy_cluster_costs_one_exec_per_host_and_ends_with_0(doctor: Doctor) -> None:
    hosts = [whole(name) for name in HOSTS]
    said = doctor(hosts=hosts)
    assert said.code == 0, said.out
    assert "doctor: " in said.out
    assert " critical" not in said.out
    assert "warning" not in said.out
    assert [(host.connections, host.execs) for host in hosts] == [(1, 1)] * 3
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_finding_says_where_what_why_and_the_fix(doctor: Doctor) -> None:
    said = doctor(hosts=[whole("spark-1"), swapped("spark-2"), whole("spark-3")])
    assert said.code == 4
    assert "warning  HOST002   spark-2    swap is on: /swap.img (8 GiB)" in said.out
    assert "why  On unified memory" in said.out
    assert "fix  swapoff -a" in said.out
    assert "`--fix` repairs it (bootstrap step swap)" in said.out
    assert "doctor: 1 warning, " in said.out


def test_the_hosts_option(doctor: Doctor) -> None:
    hosts = [whole(name) for name in HOSTS]
    assert doctor("--hosts", "spark-2", hosts=hosts).code == 0
    assert [host.connections for host in hosts] == [0, 1, 0]


def test_a_host_that_is_away(doctor: Doctor) -> None:
    away = whole("spark-3")
    away.down = Unreachable("spark-3: no route to host", host="spark-3", remedy="Is it on?")
    said = doctor("--json", hosts=[whole("spark-1"), whole("spark-2"), away])
    assert said.code == 3
    (line,) = said.lines
    assert line["hosts"] == {"spark-1": "up", "spark-2": "up", "spark-3": "unknown"}
    assert line["exit_code"] == 3
    assert line["findings"][0] | {"why": ""} == {
        "code": "HOST010",
        "severity": "critical",
        "host": "spark-3",
        "what": "spark-3: no route to host",
        "fix": line["findings"][0]["fix"],
        "repair": None,
        "title": "The host does not answer",
        "why": "",
    }
    assert line["counts"]["critical"] == 1


def test_a_probe_that_broke_off_is_a_host_that_is_away(doctor: Doctor) -> None:
    broken = whole("spark-3")
    broken.on(world.MARK, "\n@@spark-cluster-fact host\nhostname=spark-3\n")
    said = doctor(hosts=[whole("spark-1"), whole("spark-2"), broken])
    assert said.code == 3
    assert "the probe ended with status 0" in said.out


def test_fix_runs_only_the_named_steps_and_looks_again(doctor: Doctor) -> None:
    hosts = [whole("spark-1"), swapped("spark-2"), whole("spark-3")]
    said = doctor("--fix", hosts=hosts)
    assert said.code == 0, said.out
    assert "bootstrap steps: swap" in said.out
    assert "doctor, after --fix:" in said.out
    assert [len(host.changes) for host in hosts] == [0, 1, 0]
    assert [host.connections for host in hosts] == [2, 3, 2]


def test_fix_with_json_is_a_line_an_object(doctor: Doctor) -> None:
    said = doctor("--fix", "--json", hosts=[whole("spark-1"), swapped("spark-2"), whole("spark-3")])
    kinds = [line["kind"] for line in said.lines]
    assert kinds[0] == kinds[-1] == "doctor"
    assert "run_finished" in kinds or any("finished" in kind for kind in kinds)
    assert [line["phase"] for line in said.lines if line["kind"] == "doctor"] == [
        "examined",
        "after-fix",
    ]


def test_fix_leaves_alone_what_needs_a_decision(doctor: Doctor) -> None:
    filtered = whole(
        "spark-2", firewall=(world.DATA / "doctor/firewall/rail-dropped.txt").read_text()
    )
    hosts = [whole("spark-1"), filtered, whole("spark-3")]
    said = doctor("--fix", hosts=hosts)
    assert said.code == 4
    assert "none of it can be repaired without a decision of yours" in said.out
    assert [host.connections for host in hosts] == [1, 1, 1]


def test_verbose_says_why_in_full(doctor: Doctor) -> None:
    hosts = [whole(name) for name in HOSTS]
    assert "What runs as root in a container is spared." in doctor("-v", hosts=hosts).out

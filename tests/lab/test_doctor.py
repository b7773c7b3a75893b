"""Each fault of the lab is named by its code, and repaired by bootstrap or refused with a reason.

FAULTS is the table; the test prints it with what was seen. Faults that do not touch each other are
made together, on different hosts or halves, so that one look finds them all.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab.conftest import Cluster, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.long]

HALF_1, HALF_2 = "enp1s0f1np1", "enP2p1s0f1np1"


@dataclass(frozen=True)
class Row:
    """`codes` are the findings on `node`; `elsewhere` those that follow from it on other hosts.
    `repaired`: by `bootstrap`; otherwise `refused` is a code with which bootstrap says why not."""

    fault: str
    node: str
    codes: frozenset[str]
    interface: str = HALF_1
    repaired: bool = False
    refused: str = ""
    elsewhere: frozenset[tuple[str, str]] = frozenset()

    def findings(self) -> set[tuple[str, str]]:
        return {(self.node, code) for code in self.codes} | self.elsewhere


REPAIRED = (
    Row("mtu", "spark-3", frozenset({"NET015"}), repaired=True),
    Row("ipv6", "spark-2", frozenset({"NET017"}), HALF_2, repaired=True),
    Row("swap-on", "spark-1", frozenset({"HOST002"}), repaired=True),
    Row("rdma-ucm", "spark-3", frozenset({"RDMA006"}), repaired=True),
)
BY_HAND = (
    Row(
        "unplug", "spark-3", frozenset({"NET002"}), HALF_2,
        elsewhere=frozenset({("spark-2", "NET002")}),
    ),
    Row(
        "firewall", "spark-2", frozenset({"NET023", "NET004"}), HALF_1,
        elsewhere=frozenset({("spark-3", "NET004")}),
    ),
    Row("second-owner", "spark-1", frozenset({"NET003"}), "enP7s7", refused="NET003"),
    Row("fill-disk", "spark-1", frozenset({"HOST018"})),
)  # fmt: skip
#: The peer keeps its carrier: the lab's cable does not know that a device is gone.
REMOVED = Row("hot-remove", "spark-3", frozenset({"NET012"}), HALF_2, refused="NET001")
DEAD = Row("node-dead", "spark-3", frozenset({"HOST010"}), repaired=True)


def doctor(cluster: Cluster, *arguments: str, code: int | None = None) -> list[dict[str, Any]]:
    """What the last look of a doctor run found, but for notes."""
    lines = cluster.run("doctor", "--json", *arguments, code=code).stdout.splitlines()
    looks = [look for line in lines if (look := json.loads(line))["kind"] == "doctor"]
    return [f for f in looks[-1]["findings"] if f["severity"] != "note"]


def pairs(findings: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(finding["host"], finding["code"]) for finding in findings}


@contextlib.contextmanager
def faults(cluster: Cluster, *rows: Row) -> Iterator[None]:
    """Made, and undone again whatever the test finds."""
    arguments = [(row.fault, row.node, "--interface", row.interface) for row in rows]
    for each in arguments:
        cluster.run("lab", "fault", *each)
    try:
        yield
    finally:
        for each in arguments:
            cluster.run("lab", "fault", *each, "--undo")


def reasons(cluster: Cluster) -> set[str]:
    """The codes with which bootstrap refuses or fails, having changed no network."""
    events, _ = cluster.events("bootstrap", code=4)
    assert not [e for e in events if e["kind"] == "guarded"]
    return {e["error"]["code"] for e in events if e["kind"] == "step_finished" and e["error"]}


@pytest.fixture(scope="module", autouse=True)
def clean(cluster: Cluster) -> Iterator[None]:
    cluster.run("bootstrap")
    assert pairs(doctor(cluster, code=0)) == set()
    yield


def expected(*rows: Row) -> set[tuple[str, str]]:
    return set().union(*(row.findings() for row in rows))


def show(rows: tuple[Row, ...]) -> None:
    print()
    for row in rows:
        end = "bootstrap" if row.repaired else f"by hand; bootstrap says {row.refused or 'nothing'}"
        print(f"{row.fault:<13} {row.node}  {', '.join(sorted(row.codes)):<18} {end}")


def test_what_can_be_repaired_is(cluster: Cluster) -> None:
    for row in REPAIRED:
        cluster.run("lab", "fault", row.fault, row.node, "--interface", row.interface)
    findings = doctor(cluster, code=4)
    assert pairs(findings) == expected(*REPAIRED)
    for finding in findings:
        assert finding["repair"]
        assert finding["title"] in cluster.run("explain", finding["code"]).stdout
    assert doctor(cluster, "--fix", code=0) == []
    _, last = cluster.events("bootstrap")
    assert set(last["counts"]) <= {"ok", "skipped"}
    show(REPAIRED)


def test_what_a_person_must_mend_is_named_and_left_alone(cluster: Cluster) -> None:
    with faults(cluster, *BY_HAND):
        findings = doctor(cluster, code=4)
        assert pairs(findings) == expected(*BY_HAND)
        assert all(finding["fix"] for finding in findings)
        assert "NET003" in reasons(cluster)
    cluster.run("bootstrap")
    assert doctor(cluster, code=0) == []
    show(BY_HAND)


def test_a_half_that_was_hot_removed(cluster: Cluster) -> None:
    """Not the same as a port without carrier: the netdev and its RDMA device are gone."""
    with faults(cluster, REMOVED):
        wait_for(
            lambda: HALF_2 not in cluster.on(REMOVED.node, "ip -o link"), 60, f"{HALF_2} is gone"
        )
        assert pairs(doctor(cluster, code=4)) == expected(REMOVED)
        assert REMOVED.refused in reasons(cluster)
    wait_for(lambda: HALF_2 in cluster.on(REMOVED.node, "ip -o link"), 60, f"{HALF_2} is back")
    cluster.run("bootstrap")
    assert doctor(cluster, code=0) == []
    show((REMOVED,))


def test_docker_s_forward_policy_is_a_note_where_nobody_forwards(cluster: Cluster) -> None:
    with faults(cluster, Row("forward-drop", "spark-2", frozenset())):
        done = cluster.run("doctor", "--json", "--hosts", "spark-2", code=0)
    notes = json.loads(done.stdout.splitlines()[-1])["findings"]
    assert ("spark-2", "NET021", "note") in {(f["host"], f["code"], f["severity"]) for f in notes}


def test_a_host_that_does_not_answer_is_named_and_the_others_are_examined(
    cluster: Cluster,
) -> None:
    with faults(cluster, Row("sshd-hang", "spark-1", frozenset({"HOST010"}))):
        assert pairs(doctor(cluster, code=3)) == {("spark-1", "HOST010")}
        assert "spark-1" in cluster.run("bootstrap", code=3).stderr
    assert doctor(cluster, code=0) == []


def test_a_dead_node_is_named_and_bootstrap_mends_it_when_it_is_back(cluster: Cluster) -> None:
    """It comes back as it was after its first boot: without anything that bootstrap did."""
    with faults(cluster, DEAD):
        assert DEAD.findings() <= pairs(doctor(cluster, code=3))
        assert DEAD.node in cluster.run("bootstrap", code=3).stderr
    assert DEAD.node in {host for host, _ in pairs(doctor(cluster, code=4))}
    _, last = cluster.events("bootstrap")
    assert last["counts"]["changed"] > 0
    assert doctor(cluster, code=0) == []
    show((DEAD,))

"""`verify-rdma --probe` over fake hosts: who measures what, and what is said and remembered."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.core.error import StateUnknown, Unreachable
from spark_cluster.inventory.loader import load
from spark_cluster.runner import bandwidth
from spark_cluster.transport.protocol import Completed
from tests.command_line import Cli, Said
from tests.fake_transport import FakeHost

from . import world
from .cases import write
from .world import INVENTORY, Spark

READY = "program\ncm\ndevice rocep1s0f1 mlx5_core 200\ndevice roceP2p1s0f1 mlx5_core 200\n"
TABLE = """\
 #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]
 65536      560845           0.00               {gbits}                0.186950
"""

#: The script that holds the clients.
CLIENT = re.compile(r"-D \d+ -p \d+ 192")


@pytest.fixture
def probe(cli: Cli) -> Cli:
    """Run `spark-cluster verify-rdma --probe …`; `hosts` answer."""
    return functools.partial(cli, "verify-rdma", "--probe")


class Meter(Spark):
    """A host on which ib_write_bw reaches `gbits`, by the device that it is told to use."""

    def __init__(self, name: str, gbits: float = 106.0, **by_device: float) -> None:
        super().__init__(name, {"bandwidth": READY})
        self.gbits = gbits
        self.by_device = by_device
        self.devices: list[str] = []
        self.on("_listens()", self.serve)
        self.on(CLIENT, self.call)
        self.on("/exe ]; do sleep", self.measure)
        self.on("bandwidth.1/* 2>/dev/null", "")

    def serve(self, script: str) -> str:
        count = script.count("\n_start ")
        return f"ready /tmp/spark-cluster-bandwidth.1 {' '.join(['18515', '18516'][:count])}\n"

    def call(self, script: str) -> str:
        self.devices = re.findall(r"-d (roce\S+)", script)
        return (
            f"ready /tmp/spark-cluster-bandwidth.2 {' '.join(['71', '72'][: len(self.devices)])}\n"
        )

    def measure(self, _: str) -> str:
        parts = []
        for number, device in enumerate(self.devices):
            gbits = self.by_device.get(device, self.gbits)
            parts.append(f"@@spark-cluster-test {number}\n{TABLE.format(gbits=gbits)}")
        return "\n".join(parts)


def pair(**of_spark_2: float) -> list[FakeHost]:
    return [Meter("spark-2", **of_spark_2), Meter("spark-3")]


def run(probe: Cli, hosts: Sequence[FakeHost], *more: str) -> Said:
    return probe("--hosts", "pair", "-i", INVENTORY, *more, hosts=hosts)


def data_of(out: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(out.splitlines()[-1])["data"]
    return data


def test_good_halves_end_with_0_and_a_table(probe: Cli) -> None:
    hosts = pair()
    code, out, err = run(probe, hosts)
    assert (code, err) == (0, "")
    (header,) = [line.split() for line in out.splitlines() if line.startswith("from")]
    assert header == ["from", "to", "rail", "Gb/s", "expected", "before"]
    rows = [line.split() for line in out.splitlines() if line.startswith("spark-")]
    assert [row[:3] for row in rows[:4]] == [
        ["spark-2", "spark-3", "enp1s0f1np1"],
        ["spark-3", "spark-2", "enp1s0f1np1"],
        ["spark-2", "spark-3", "enP2p1s0f1np1"],
        ["spark-3", "spark-2", "enP2p1s0f1np1"],
    ]
    assert rows[4][2:] == ["enp1s0f1np1", "+", "enP2p1s0f1np1", "212", ">=", "170", "good"]
    assert "every half delivers what its link should" in out


def test_one_connection_per_host_and_every_server_let_go(probe: Cli) -> None:
    hosts = pair()
    run(probe, hosts)
    assert [host.connections for host in hosts] == [1, 1]
    for host in hosts:
        servers = [held for held in host.held if "_listens()" in held.script]
        assert len(servers) == 3
        assert len([held for held in host.held if CLIENT.search(held.script)]) == 3
        assert all(held.released for held in host.held)


def test_a_slow_half_is_a_finding_with_exit_4(probe: Cli) -> None:
    code, out, _ = run(probe, pair(roceP2p1s0f1=12.9))
    assert code == 4
    assert "RDMA020 spark-2 to spark-3 over enP2p1s0f1np1: 12.9 Gb/s, at least 85 expected" in out
    assert "spark-cluster explain RDMA020" in out


def test_the_next_run_says_what_it_was(probe: Cli) -> None:
    assert run(probe, pair(gbits=111.0))[0] == 0
    code, out, _ = run(probe, pair(gbits=13.0), "--no-both")
    assert code == 4
    assert "over enp1s0f1np1: was 111 Gb/s on 20" in out
    assert "is 13 Gb/s, at least 85 expected" in out
    _, out, _ = run(probe, pair(), "--json")
    before = [row["before"]["gbits"] for row in data_of(out)["bandwidth"]]
    assert before == [13, 106, 13, 106, 222, 212]


def test_without_both_only_single_halves(probe: Cli) -> None:
    _, out, _ = run(probe, pair(), "--no-both", "--json")
    assert [len(row["rails"]) for row in data_of(out)["bandwidth"]] == [1, 1, 1, 1]


def test_the_duration_reaches_both_sides(probe: Cli) -> None:
    hosts = pair()
    run(probe, hosts, "--duration", "9")
    scripts = [script for host in hosts for script in host.scripts if " -D " in script]
    assert scripts
    assert all(" -D 9 " in script for script in scripts)


def test_a_client_that_fails_is_tried_again_and_then_a_finding(probe: Cli) -> None:
    hosts = pair()
    said = "@@spark-cluster-test 0\n Couldn't allocate MR\n"
    hosts[0].on("/exe ]; do sleep", said)
    code, out, _ = run(probe, hosts, "--no-both", "--json")
    assert code == 4
    rows = data_of(out)["bandwidth"]
    assert [row["state"] for row in rows] == ["failed", "good", "failed", "good"]
    assert rows[0]["notes"] == ["spark-2: Couldn't allocate MR"]
    assert {found["code"] for found in data_of(out)["findings"]} == {"RDMA021"}
    tries = [script for script in hosts[0].scripts if "/exe ]; do sleep" in script]
    assert len(tries) == 2 * bandwidth.ATTEMPTS
    assert all(held.released for host in hosts for held in host.held)


def test_a_host_too_busy_for_a_clock_is_asked_more_often(probe: Cli) -> None:
    hosts = pair()
    said = "@@spark-cluster-test 0\n Can't produce a report\n"
    hosts[0].on("/exe ]; do sleep", said)
    code, out, _ = run(probe, hosts, "--no-both", "--json")
    assert code == 4
    assert data_of(out)["bandwidth"][0]["notes"] == ["spark-2: Can't produce a report"]
    tries = [script for script in hosts[0].scripts if "/exe ]; do sleep" in script]
    assert len(tries) == 2 * bandwidth.BUSY_ATTEMPTS


def test_a_server_that_does_not_start_says_why(probe: Cli) -> None:
    hosts = pair()
    hosts[1].on("_listens()", Completed(71, "failed IB device rocep1s0f1 not found\n", ""))
    code, out, _ = run(probe, hosts, "--no-both")
    assert code == 4
    assert "the server on spark-3 did not start: IB device rocep1s0f1 not found" in out


def test_a_host_lost_on_the_way_is_unknown_with_exit_3(probe: Cli) -> None:
    hosts = pair()
    gone = StateUnknown("spark-2: the connection broke", host="spark-2", remedy="Run it again.")
    hosts[0].on("/exe ]; do sleep", gone)
    code, out, _ = run(probe, hosts)
    assert code == 3
    assert "spark-2: the connection broke" in out
    assert all(held.released for held in hosts[1].held)


def test_a_host_that_is_away_is_told_before_anything_runs(probe: Cli) -> None:
    hosts = pair()
    hosts[0].down = Unreachable("spark-2: no route", host="spark-2", remedy="Is it on?")
    code, out, err = run(probe, hosts)
    assert code == 3
    assert hosts[1].held == []
    assert "spark-2: no route" in out + err


def test_without_the_program_it_names_the_package(probe: Cli) -> None:
    hosts = pair()
    hosts[1].texts["bandwidth"] = "cm\n"  # type: ignore[attr-defined]
    code, _, err = run(probe, hosts)
    assert code == 1
    assert "spark-3" in err
    assert "apt-get install perftest" in err


def test_hosts_without_a_common_network(probe: Cli) -> None:
    code, _, err = probe("--hosts", "spark-1,spark-2", "-i", INVENTORY, hosts=pair())
    assert code == 2
    assert "no two of spark-1, spark-2 have rails in one network" in err


def test_a_host_in_use_is_not_measured(probe: Cli) -> None:
    hosts = pair()
    hosts[1].on("exec 9>>", Completed(75, "held bootstrap by eve@desk (pid 7)\n", ""))
    code, _, err = run(probe, hosts)
    assert code == 5
    assert "spark-3 is in use: bootstrap by eve@desk" in err
    assert all(held.released for held in hosts[0].held)


def test_a_serving_container_is_mentioned(probe: Cli) -> None:
    hosts = pair()
    hosts[0].texts["containers"] = world.running("spark-2")  # type: ignore[attr-defined]
    _, out, _ = run(probe, hosts)
    assert "runs: it and this measurement share the link" in out


def ring(tmp_path: Path) -> Path:
    lines = ["hosts:"]
    ends = {1: [(0, 0), (1, 2)], 2: [(0, 1), (1, 0)], 3: [(0, 2), (1, 1)]}
    for host, cables in ends.items():
        lines += [f"  spark-{host}:", "    rails:"]
        for port, cable in cables:
            for half, prefix in enumerate(("p1", "P2p1")):
                lines.append(
                    f"      - {{interface: en{prefix}s0f{port}np{port}, "
                    f"device: roce{prefix}s0f{port}, "
                    f"address: 192.168.{100 + 2 * cable + half}.1{host}/24}}"
                )
    return write(tmp_path / "ring.yaml", "\n".join(lines) + "\n")


def test_in_a_ring_each_two_neighbours_are_measured_over_their_own_cable(tmp_path: Path) -> None:
    found = bandwidth.tests(load(ring(tmp_path)), ["spark-1", "spark-2", "spark-3"])
    assert len(found) == 3 * 6
    first = found[0]
    assert (first.source, first.sink, first.names) == ("spark-1", "spark-2", ("enp1s0f0np0",))
    assert first.lanes[0].client_device == "rocep1s0f0"
    assert first.lanes[0].server_device == "rocep1s0f1"
    last = found[-1]
    assert (last.source, last.sink) == ("spark-3", "spark-2")
    assert last.names == ("enp1s0f1np1", "enP2p1s0f1np1")
    assert [lane.address for lane in last.lanes] == ["192.168.102.12", "192.168.103.12"]


@pytest.mark.parametrize(
    ("text", "ready"),
    [
        (READY, bandwidth.Ready(True, True, {"rocep1s0f1": ("mlx5_core", 200.0),
                                             "roceP2p1s0f1": ("mlx5_core", 200.0)})),
        ("device rocep1s0f1 rxe 2.5\n", bandwidth.Ready(devices={"rocep1s0f1": ("rxe", 2.5)})),
        ("device rocep1s0f1 mlx5_core\n",
         bandwidth.Ready(devices={"rocep1s0f1": ("mlx5_core", None)})),
        ("device\n", bandwidth.Ready()),
        ("", bandwidth.Ready()),
    ],
)  # fmt: skip
def test_what_a_host_has_for_measuring(text: str, ready: bandwidth.Ready) -> None:
    assert bandwidth.parse(text) == ready

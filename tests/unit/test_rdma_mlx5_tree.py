"""From a sysfs tree of mlx5 to a verdict: the probe's shell, its parser, the deltas, the rules.

The trees are made from the documented layout (data/rdma/README.md); no ConnectX was read for them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from spark_cluster.facts.rdma import SPARK_DEVICES, SPARK_NETDEVS
from spark_cluster.rdma.counter_names import ERROR_COUNTERS, SATURATING_BITS
from spark_cluster.rdma.counters import CounterReading, parse, probe_script
from spark_cluster.rdma.deltas import Incomparable, delta
from spark_cluster.rdma.verdict import Rail, Rank, Verdict, Work, judge
from spark_cluster.rdma.volume import Need

TREE = (Path(__file__).parent / "data" / "rdma" / "mlx5-spark.txt").read_text()
RAIL, HALF = "rocep1s0f1", "roceP2p1s0f1"
NEED = 1540096
TOKENS = 32


class Tree:
    """One Spark's /sys as files; counters grow by writing them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for line in TREE.splitlines():
            path, _, value = line.partition(":")
            file = root / path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a") as stream:
                stream.write(f"{value}\n")

    def file(self, device: str, counter: str) -> Path:
        return self.root / f"sys/class/infiniband/{device}/ports/1/{counter}"

    def put(self, device: str, counter: str, value: int) -> None:
        self.file(device, counter).write_text(f"{value}\n")

    def grow(self, device: str, counter: str, more: int, bits: int = 64) -> None:
        """As the hardware counts: the counter wraps at its width."""
        value = int(self.file(device, counter).read_text())
        self.put(device, counter, (value + more) % (1 << bits))

    def carry(self, device: str, octets: int) -> None:
        """Both ways, in port_{xmit,rcv}_data's units of four octets."""
        for way in ("xmit", "rcv"):
            self.grow(device, f"counters/port_{way}_data", octets // 4)
            self.grow(device, f"counters/port_{way}_packets", octets // 4096 + 1)

    def read(self, uptime: float) -> CounterReading:
        (self.root / "uptime").write_text(f"{uptime} 1.0\n")
        script = probe_script(
            SPARK_DEVICES,
            SPARK_NETDEVS,
            sys=str(self.root / "sys"),
            uptime=str(self.root / "uptime"),
        )
        ran = subprocess.run(
            ["sh", "-eu"], input=script, capture_output=True, text=True, check=True, timeout=30
        )
        return parse(ran.stdout)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Tree, Tree]:
    return Tree(tmp_path / "spark-2"), Tree(tmp_path / "spark-3")


def verdict(pair: tuple[Tree, Tree], *devices: str) -> Verdict:
    """Before, 32 tokens over `devices`, after."""
    names = ("spark-2", "spark-3")
    before = {name: tree.read(100.0) for name, tree in zip(names, pair, strict=True)}
    for tree in pair:
        for device in devices:
            tree.carry(device, TOKENS * NEED // len(devices))
    after = {name: tree.read(104.0) for name, tree in zip(names, pair, strict=True)}
    rails = (Rail(RAIL, "enp1s0f1np1"),)
    ranks = [Rank(name, n, rails, Need(NEED, NEED)) for n, name in enumerate(names)]
    return judge(ranks, before, after, Work(TOKENS, 4.0))


def test_a_reading_of_a_whole_spark(pair: tuple[Tree, Tree]) -> None:
    found = pair[0].read(100.0)
    assert set(found.devices) == set(SPARK_DEVICES)
    assert {name: d.state for name, d in found.devices.items()} == {
        "rocep1s0f0": "DOWN",
        "roceP2p1s0f0": "DOWN",
        RAIL: "ACTIVE",
        HALF: "ACTIVE",
    }
    device = found.devices[RAIL]
    assert (device.driver, device.source, device.netdev) == ("mlx5", "octets", "enp1s0f1np1")
    assert device.xmit_bytes == 911204118332 * 4
    known = {key.partition("/")[2] for key in device.raw} & set(ERROR_COUNTERS)
    assert set(device.errors) == known
    assert set(SATURATING_BITS) <= known


def test_tokens_over_the_rail(pair: tuple[Tree, Tree]) -> None:
    found = verdict(pair, RAIL)
    assert found.kind == "rdma", found.reasons
    assert "Counted in bytes by the RDMA port" in found.source
    rows = [row for row in found.rows if row.is_expected]
    assert [row.tx_per_token for row in rows] == [NEED, NEED]


def test_tokens_over_the_other_half(pair: tuple[Tree, Tree]) -> None:
    found = verdict(pair, HALF)
    assert found.kind == "partial"
    assert "wrong rail" in " ".join(map(str, found.reasons))


def test_no_tokens_over_any(pair: tuple[Tree, Tree]) -> None:
    assert verdict(pair).kind == "socket"


def test_octets_that_wrap_at_64_bits_are_still_counted(pair: tuple[Tree, Tree]) -> None:
    for way in ("xmit", "rcv"):
        pair[0].put(RAIL, f"counters/port_{way}_data", 2**64 - 1000)
    found = verdict(pair, RAIL)
    assert found.kind == "rdma", found.reasons
    assert found.rows[0].tx == TOKENS * NEED


def test_a_counter_that_fell_is_unknown_and_not_a_wrap(pair: tuple[Tree, Tree]) -> None:
    before = {"spark-2": pair[0].read(100.0), "spark-3": pair[1].read(100.0)}
    pair[0].put(RAIL, "counters/port_xmit_data", 5)
    after = {"spark-2": pair[0].read(104.0), "spark-3": pair[1].read(104.0)}
    device = delta(before["spark-2"], after["spark-2"]).devices[RAIL]
    assert device.problem is Incomparable.RESET


@pytest.mark.parametrize(
    ("counter", "start", "more", "bits", "grown"),
    [
        # mlx5's q-counters are 32 bits wide and wrap.
        ("hw_counters/packet_seq_err", 2**32 - 3, 8, 32, 8),
        ("hw_counters/local_ack_timeout_err", 2**32 - 1, 1, 32, 1),
        # PortCounters stop at their highest value: 4, 8, 16 and 32 bits.
        ("counters/local_link_integrity_errors", 14, 1, 4, 1),
        ("counters/link_downed", 253, 2, 8, 2),
        ("counters/symbol_error", 65000, 535, 16, 535),
        ("counters/port_xmit_wait", 2**32 - 6, 5, 32, 5),
    ],
)
def test_widths(
    pair: tuple[Tree, Tree], counter: str, start: int, more: int, bits: int, grown: int
) -> None:
    tree = pair[0]
    tree.put(RAIL, counter, start)
    before = tree.read(100.0)
    tree.grow(RAIL, counter, more, bits)
    found = delta(before, tree.read(104.0)).devices[RAIL]
    name = counter.partition("/")[2]
    assert found.errors == {name: grown}
    saturated = name in SATURATING_BITS and start + more == (1 << bits) - 1
    assert (name in found.at_least) is saturated


@pytest.mark.parametrize(("counter", "bits"), sorted(SATURATING_BITS.items()))
def test_a_counter_that_stood_at_its_highest_before_says_nothing(
    pair: tuple[Tree, Tree], counter: str, bits: int
) -> None:
    """It cannot grow: no error is invented, and that its silence is no proof is told."""
    pair[0].put(RAIL, f"counters/{counter}", (1 << bits) - 1)
    before = pair[0].read(100.0)
    assert delta(before, pair[0].read(104.0)).devices[RAIL].errors == {}
    found = verdict(pair, RAIL)
    assert found.kind == "rdma"
    assert f"{counter} stood at the highest value before" in " ".join(map(str, found.reasons))


def test_errors_during_the_run_degrade_it_and_are_named(pair: tuple[Tree, Tree]) -> None:
    before = {"spark-2": pair[0].read(100.0), "spark-3": pair[1].read(100.0)}
    for tree in pair:
        tree.carry(RAIL, TOKENS * NEED)
    pair[1].grow(RAIL, "hw_counters/packet_seq_err", 17, 32)
    after = {"spark-2": pair[0].read(104.0), "spark-3": pair[1].read(104.0)}
    rails = (Rail(RAIL, "enp1s0f1np1"),)
    ranks = [Rank(n, i, rails, Need(NEED, NEED)) for i, n in enumerate(before)]
    found = judge(ranks, before, after, Work(TOKENS, 4.0))
    assert (found.kind, found.code) == ("degraded", "RDMA012")
    assert "spark-3 (rank 1), rocep1s0f1: packet_seq_err grew by 17" in found.reasons[0].text
    assert found.reasons[0].code == "errors"

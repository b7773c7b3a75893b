"""The verdict: one case a file in data/rdma/verdicts, through the texts of the probe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.rdma.counters import CounterReading, parse
from spark_cluster.rdma.nccl_log import NcclWitness
from spark_cluster.rdma.verdict import Rail, Rank, Verdict, Work, judge
from spark_cluster.rdma.volume import (
    Need,
    expected_bytes_per_token,
    need_per_token,
    parse_need,
    roce_mtu,
)

CASES = sorted((Path(__file__).parent / "data" / "rdma" / "verdicts").glob("*.json"))
NETDEVS = {"rocep1s0f1": "enp1s0f1np1", "roceP2p1s0f1": "enP2p1s0f1np1"}
BASE = 1_000_000  # where all counters stand at first; a multiple of 4


def device_lines(device: str, value: object, driver: str, grown: list[int]) -> list[str]:
    port = f"/sys/class/infiniband/{device}/ports/1"
    if value is None:
        return [f"rdma:missing-device:{device}"]
    lines = [f"rdma:present-device:{device}", f"{port}/state:4: ACTIVE"]
    if value == "no counters":
        uevent = f"/sys/class/infiniband/{device}/device/uevent:DRIVER=mlx5_core"
        return [*lines, uevent] if driver == "mlx5 without counters" else lines
    sent, received = (BASE + more for more in grown)
    if driver == "rxe":
        return [
            *lines,
            f"{port}/hw_counters/sent_pkts:{sent}",
            f"{port}/hw_counters/rcvd_pkts:{received}",
            f"/sys/class/infiniband/{device}/parent:{NETDEVS[device]}",
        ]
    return [
        *lines,
        f"{port}/counters/port_xmit_data:{sent // 4}",
        f"{port}/counters/port_rcv_data:{received // 4}",
        f"/sys/class/infiniband/{device}/device/uevent:DRIVER=mlx5_core",
        f"/sys/class/infiniband/{device}/device/net/{NETDEVS[device]}/ifindex:4",
    ]


def read_host(host: dict[str, Any], driver: str, *, after: bool) -> CounterReading | None:
    """The host's reading before or after, by way of the probe's text."""
    if host.get("unreadable"):
        return None
    uptime = 100.0 if not after else 50.0 if host.get("rebooted") else 104.0
    lines = [f"rdma:uptime:{uptime}"]
    for device, value in host["devices"].items():
        grown = value if after and isinstance(value, list) else [0, 0]
        lines += device_lines(device, value, driver, grown)
        for key, count in host.get("errors", {}).get(device, {}).items():
            path = f"/sys/class/infiniband/{device}/ports/1/{key}"
            lines.append(f"{path}:{count if after else 0}")
    for netdev, (sent, received) in host["netdevs"].items():
        base = f"/sys/class/net/{netdev}"
        more = (sent, received) if after else (0, 0)
        lines += [
            f"{base}/statistics/{way}_bytes:{BASE + count}"
            for way, count in zip(("tx", "rx"), more, strict=True)
        ]
        lines.append(f"{base}/mtu:9000")
    return parse("\n".join(lines))


def verdict_of(case: dict[str, Any]) -> Verdict:
    rails = tuple(Rail(device, NETDEVS[device]) for device in case["rails"])
    needed = case["bytes_per_token"]
    needs = case.get("needs") or [[needed, needed] if needed else None for _ in case["hosts"]]
    ranks = [
        Rank(host, number, rails, Need(*need) if need else None)
        for number, (host, need) in enumerate(zip(case["hosts"], needs, strict=True))
    ]
    readings = [
        {name: read_host(host, case["driver"], after=after) for name, host in case["hosts"].items()}
        for after in (False, True)
    ]
    work = Work(
        tokens=case["tokens"],
        seconds=4.0,
        prompt_tokens=case.get("prompt_tokens", 0),
        requests_running=case.get("requests_running"),
    )
    witnesses = {
        int(rank): NcclWitness(**{**fields, "devices": tuple(fields.get("devices", ()))})
        for rank, fields in case["witness"].items()
    }
    return judge(ranks, readings[0], readings[1], work, witnesses)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_verdict(path: Path) -> None:
    case = json.loads(path.read_text())
    found = verdict_of(case)
    told = "\n".join(map(str, found.reasons))
    assert found.kind == case["expect"]["kind"], told
    assert found.kind == path.stem.partition("-")[0]
    for words in case["expect"]["says"]:
        assert words in told
    for words in case["expect"]["never"]:
        assert words not in told
    assert found.reasons
    assert "!" not in told
    assert (found.code is None) == (found.kind == "rdma")
    assert found.code == case["expect"].get("code", found.code)


def test_every_kind_has_a_case() -> None:
    kinds = {json.loads(path.read_text())["expect"]["kind"] for path in CASES}
    assert kinds == {"rdma", "socket", "partial", "degraded", "idle", "unknown"}


def load(name: str) -> dict[str, Any]:
    case: dict[str, Any] = json.loads(next(p for p in CASES if p.stem == name).read_text())
    return case


def test_rows_of_mlx5() -> None:
    rows = verdict_of(load("rdma-mlx5")).rows
    assert [(row.host, row.rail, row.is_expected) for row in rows] == [
        ("spark-1", "rocep1s0f1", True),
        ("spark-1", "roceP2p1s0f1", False),
        ("spark-2", "rocep1s0f1", True),
        ("spark-2", "roceP2p1s0f1", False),
    ]
    assert (rows[0].unit, rows[0].tx, rows[0].tx_per_token) == ("B", 1540096 * 64, 1540096)
    assert rows[0].netdev == "enp1s0f1np1"
    assert rows[1].tx == 0


def test_rows_of_rxe_count_packets_and_bound_the_bytes() -> None:
    row = verdict_of(load("rdma-rxe")).rows[0]
    assert row.unit == "packets"
    assert row.tx == 24064 + 12032
    assert row.tx_per_token == pytest.approx(564)
    assert "at most" in row.note


def test_rows_name_what_is_missing() -> None:
    rows = verdict_of(load("partial-device-absent")).rows
    assert rows[0].note == "the device is not there"
    rows = verdict_of(load("unknown-host")).rows
    assert [row.note for row in rows if row.host == "spark-2"] == ["not read"]
    assert rows[-1].tx is None


def test_one_rank_proves_nothing() -> None:
    case = load("rdma-mlx5")
    del case["hosts"]["spark-2"]
    assert verdict_of(case).kind == "unknown"


def test_a_pipeline_hands_on_one_way() -> None:
    needs = [need_per_token(94, 4096, pipeline_parallel=3, rank=rank) for rank in range(3)]
    assert [(need.sent, need.received) for need in needs] == [
        (16384, 0),
        (16384, 16384),
        (0, 16384),
    ]
    both = need_per_token(94, 4096, tensor_parallel=2, pipeline_parallel=2, rank=3)
    assert (both.sent, both.received) == (94 * 4096 * 2, 94 * 4096 * 2 + 16384)
    assert need_per_token(94, 4096, tensor_parallel=2) == Need(1540096, 1540096)


@given(st.integers(0, 10**14), st.integers(0, 10**14))
def test_a_label_holds_the_need(sent: int, received: int) -> None:
    need = Need(float(sent), float(received))
    assert parse_need(need.label) == (need if sent or received else None)


@pytest.mark.parametrize("text", ["", "many", "-5", "1,2,3", "1.5", "9" * 30])
def test_a_foreign_label_is_no_need(text: str) -> None:
    assert parse_need(text) is None


def test_bytes_per_token() -> None:
    assert expected_bytes_per_token(94, 4096) == 94 * 2 * 4096 * 2
    assert expected_bytes_per_token(94, 4096, tensor_parallel=1) == 0
    assert expected_bytes_per_token(10, 100, 2, 4) == 10 * 2 * 100 * 2 * 1.5


@pytest.mark.parametrize(
    ("mtu", "payload"),
    [(1500, 1024), (4192, 4096), (4191, 2048), (9000, 4096), (None, 4096), (68, 256)],
)
def test_roce_mtu(mtu: int | None, payload: int) -> None:
    assert roce_mtu(mtu) == payload


#: Around what 64 tokens need (98,566,144 bytes, or 24,064 packets), and far from it.
AMOUNTS = st.one_of(
    st.integers(49_000_000, 99_000_000), st.integers(12_000, 25_000), st.sampled_from([0, 10**12])
)


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(0, 70), st.sampled_from(["mlx5", "rxe"]))
def test_rdma_is_never_said_of_a_silent_direction(
    a: int, b: int, c: int, d: int, tokens: int, driver: str
) -> None:
    netdev = {"enp1s0f1np1": [10**9, 10**9]}
    case = {
        "driver": driver,
        "tokens": tokens,
        "bytes_per_token": 1540096,
        "rails": ["rocep1s0f1"],
        "witness": {},
        "hosts": {
            "spark-1": {"devices": {"rocep1s0f1": [a, b]}, "netdevs": netdev},
            "spark-2": {"devices": {"rocep1s0f1": [c, d]}, "netdevs": netdev},
        },
    }
    found = verdict_of(case)
    if found.kind == "rdma":
        size = 4096 if driver == "rxe" else 1
        assert min(a, b, c, d) * size >= 1540096 * tokens // 2 - 4
        assert tokens > 0

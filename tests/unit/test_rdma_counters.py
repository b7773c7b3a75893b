"""Readings of the RDMA counters and what happened between two of them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.rdma.counter_names import ERROR_COUNTERS, Growth, meaning, severity
from spark_cluster.rdma.counters import CounterReading, parse, probe_script
from spark_cluster.rdma.deltas import Incomparable, delta, growth

DATA = Path(__file__).parent / "data" / "rdma"
DEVICE = "rocep1s0f1"
NETDEV = "enp1s0f1np1"


def reading(name: str) -> CounterReading:
    return parse((DATA / f"{name}.txt").read_text())


def test_mlx5_reading() -> None:
    found = reading("mlx5-before")
    device = found.devices[DEVICE]
    assert found.uptime == 100.25
    assert (device.driver, device.source, device.state) == ("mlx5", "octets", "ACTIVE")
    assert (device.xmit_bytes, device.rcv_bytes) == (4000, 8000)
    assert device.rate == "200 Gb/sec (4X HDR)"
    assert device.netdev == NETDEV
    assert device.raw["hw_counters/lifespan"] == 10
    assert device.errors["packet_seq_err"] == 4294967290
    assert "lifespan" not in device.errors
    assert not found.devices["roceP2p1s0f1"].present
    assert found.netdevs[NETDEV].mtu == 9000
    assert not found.netdevs["enP9s9"].present


def test_rxe_reading_counts_packets() -> None:
    device = reading("rxe").devices[DEVICE]
    assert (device.driver, device.source, device.netdev) == ("rxe", "packets", NETDEV)
    assert (device.xmit_packets, device.rcv_packets) == (92180, 92171)
    assert (device.xmit_bytes, device.rcv_bytes) == (None, None)


def test_delta_of_mlx5_wraps_q_counters_and_multiplies_octets() -> None:
    found = delta(reading("mlx5-before"), reading("mlx5-after"))
    device = found.devices[DEVICE]
    assert found.seconds == 2.5
    assert (device.xmit_bytes, device.rcv_bytes) == (26_000_000 * 4, 25_000_000 * 4)
    assert device.errors == {"packet_seq_err": 10}
    assert found.devices["roceP2p1s0f1"].absent
    assert found.netdevs[NETDEV].tx_bytes == 0


def changed(found: CounterReading, **raw: int) -> CounterReading:
    """`found` with some raw counters of the device replaced (`__` stands for the slash)."""
    device = found.devices[DEVICE]
    values = {**device.raw, **{name.replace("__", "/"): value for name, value in raw.items()}}
    return replace(found, devices={DEVICE: replace(device, raw=values)})


def test_a_counter_that_fell_is_a_reset_and_no_traffic() -> None:
    before = changed(reading("mlx5-before"), counters__port_xmit_data=5_000_000)
    after = changed(reading("mlx5-before"), counters__port_xmit_data=10)
    device = delta(before, after).devices[DEVICE]
    assert device.problem is Incomparable.RESET
    assert device.xmit_bytes is None


def test_octets_wrap_at_64_bits() -> None:
    before = changed(reading("mlx5-before"), counters__port_xmit_data=2**64 - 10)
    after = changed(reading("mlx5-before"), counters__port_xmit_data=90)
    assert delta(before, after).devices[DEVICE].xmit_bytes == 400


def test_a_saturated_error_counter_says_at_least() -> None:
    before = changed(reading("mlx5-before"), counters__symbol_error=65000)
    after = changed(reading("mlx5-before"), counters__symbol_error=65535)
    device = delta(before, after).devices[DEVICE]
    assert device.errors == {"symbol_error": 535}
    assert device.at_least == {"symbol_error"}


def test_rxe_counters_are_wide_and_do_not_wrap_at_32_bits() -> None:
    before = changed(reading("rxe"), hw_counters__sent_pkts=2**32 - 1)
    after = changed(reading("rxe"), hw_counters__sent_pkts=10)
    assert delta(before, after).devices[DEVICE].problem is Incomparable.RESET


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("mlx5-before", "", "was not read the second time"),
        ("", "mlx5-before", "was not read the first time"),
    ],
)
def test_a_device_read_once_says_so(first: str, second: str, words: str) -> None:
    readings = [reading(name) if name else parse("") for name in (first, second)]
    assert delta(*readings).devices[DEVICE].problem == Incomparable(words)


def test_a_device_that_vanished_says_so() -> None:
    gone = parse(f"rdma:missing-device:{DEVICE}\n")
    assert delta(reading("mlx5-before"), gone).devices[DEVICE].problem is Incomparable.VANISHED
    assert delta(gone, reading("mlx5-before")).devices[DEVICE].problem is Incomparable.APPEARED


def test_a_reboot_is_told_by_the_uptime() -> None:
    found = delta(reading("mlx5-after"), reading("mlx5-before"))
    assert found.rebooted
    assert found.seconds is None
    assert found.devices[DEVICE].problem is Incomparable.REBOOTED
    assert found.netdevs == {}


def test_severities() -> None:
    assert severity("packet_seq_err") is Growth.FAIL
    assert severity("np_cnp_sent") is Growth.WARN
    assert severity("resp_cqe_flush_error") is Growth.BENIGN
    assert severity("never_heard_of") is Growth.BENIGN
    assert all(meaning(name) for name in ERROR_COUNTERS)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1))
def test_growth_is_found_across_a_wrap(before: int, more: int) -> None:
    assert growth(before, (before + more) % 2**32, 32) == more


@given(st.integers(0, 255), st.integers(0, 255))
def test_a_saturating_counter_never_wraps(before: int, after: int) -> None:
    expected = after - before if after >= before else None
    assert growth(before, after, 8, saturating=True) == expected


LINES = st.lists(
    st.one_of(
        st.text(),
        st.sampled_from((DATA / "mlx5-before.txt").read_text().splitlines()),
        st.builds(
            "/sys/class/infiniband/{}/ports/1/{}/{}:{}".format,
            st.text(),
            st.sampled_from(["counters", "hw_counters"]),
            st.text(),
            st.one_of(st.text(), st.integers()),
        ),
    )
)


@given(LINES, LINES)
def test_parse_and_delta_take_any_text(first: list[str], second: list[str]) -> None:
    found = delta(parse("\n".join(first)), parse("\n".join(second)))
    for device in found.devices.values():
        assert device.xmit_bytes is None or device.xmit_bytes >= 0
        assert all(count > 0 for count in device.errors.values())


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_what_the_probe_prints_is_read_back(sent: int, received: int) -> None:
    base = f"/sys/class/infiniband/{DEVICE}/ports/1/hw_counters"
    text = f"{base}/sent_pkts:{sent}\n{base}/rcvd_pkts:{received}\n"
    device = parse(text).devices[DEVICE]
    assert (device.xmit_packets, device.rcv_packets) == (sent, received)


def make_tree(root: Path, text: str) -> None:
    """The files that grep would have printed as `text`."""
    for line in text.splitlines():
        path, _, value = line.partition(":")
        if path.startswith("/sys/"):
            file = root / path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a") as stream:
                stream.write(f"{value}\n")


@pytest.mark.parametrize("name", ["mlx5-before", "rxe"])
def test_the_script_reads_a_tree_under_sh(tmp_path: Path, name: str) -> None:
    text = (DATA / f"{name}.txt").read_text()
    make_tree(tmp_path, text)
    (tmp_path / "uptime").write_text("77.5 100.0\n")
    devices = [DEVICE, "roceP2p1s0f1"]
    script = probe_script(
        devices, [NETDEV, "enP9s9"], sys=str(tmp_path / "sys"), uptime=str(tmp_path / "uptime")
    )
    ran = subprocess.run(
        ["sh", "-eu"], input=script, capture_output=True, text=True, check=True, timeout=20
    )
    assert ran.stderr == ""
    found = parse(ran.stdout)
    assert found.uptime == 77.5
    assert found.devices[DEVICE] == parse(text).devices[DEVICE]
    assert not found.devices["roceP2p1s0f1"].present
    assert found.netdevs[NETDEV] == parse(text).netdevs[NETDEV]
    assert not found.netdevs["enP9s9"].present


def test_the_script_starts_one_process() -> None:
    script = probe_script(
        [f"d{number}" for number in range(8)], [f"n{number}" for number in range(9)]
    )
    assert script.count("grep") == 1
    assert not any(word in script for word in ("cat ", "$(", "awk", "|  "))


def test_the_script_with_nothing_to_read() -> None:
    ran = subprocess.run(
        ["sh", "-eu"], input=probe_script([], []), capture_output=True, text=True, check=True
    )
    assert parse(ran.stdout).devices == {}

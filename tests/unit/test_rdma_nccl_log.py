"""NCCL's log as a witness."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.rdma.log_lines import by_process
from spark_cluster.rdma.nccl_log import NcclWitness, describe, parse

DATA = Path(__file__).parent / "data" / "nccl"


def witness(name: str) -> NcclWitness:
    return parse((DATA / name).read_text())


def test_roce() -> None:
    found = witness("ib-roce-two-hosts-2.19.log")
    assert found.version == "2.19.3"
    assert found.devices == ("mlx5_10", "mlx5_11")
    assert (found.network, found.failed) == ("IB", None)
    assert found.oob == "enp220s0np0:11.1.128.128"


def test_two_hosts_in_one_log() -> None:
    lines = list(by_process((DATA / "ib-roce-two-hosts-2.19.log").read_text()))
    processes = list(dict.fromkeys(process for process, _ in lines if process))
    found = {
        process: parse("\n".join(line for owner, line in lines if owner in (process, None)))
        for process in processes
    }
    assert list(found) == ["dgxh100-4:460770", "dgxh100-3:2152176"]
    assert found["dgxh100-4:460770"].oob == "enp220s0np0:11.1.128.136"
    assert all(item.version == "2.19.3" for item in found.values())


def test_devices_alone_are_no_network() -> None:
    found = witness("ib-rxe-2.20.log")
    assert found.devices == ("rxe0",)
    assert found.network is None
    assert found.env == {"NCCL_SOCKET_IFNAME": "ens121f1", "NCCL_IB_HCA": "rxe0"}


def test_socket_forced() -> None:
    found = witness("nccl-2.28.9-socket-forced.rank0.log")
    assert (found.version, found.network, found.devices) == ("2.28.9", "Socket", ())
    assert (found.channels_ib, found.channels_socket, found.gdr) == (0, 4, False)
    assert (found.rank, found.nranks) == (0, 2)
    assert found.env["NCCL_SHM_DISABLE"] == "1"
    assert not found.fell_back


def test_silent_fallback() -> None:
    found = witness("nccl-2.28.9-socket-silent-fallback.rank0.log")
    assert (found.network, found.devices, found.failed) == ("Socket", (), None)
    assert found.fell_back
    assert found.env["NCCL_IB_HCA"] == "=rocep1s0f1:1"
    assert "NET/IB found no device" in describe(found)


def test_forced_and_no_device() -> None:
    found = witness("nccl-2.28.9-ib-forced-no-device.rank0.log")
    assert found.network is None
    assert found.failed is not None
    assert "no network could be initialised" in found.failed
    assert describe(found).startswith("failed: no network")


RAY = "\x1b[36m(RayWorkerProc pid=284, ip=192.168.100.11)\x1b[0m spark-2:284:301 [0] NCCL INFO "


def test_a_plugin_behind_rays_prefix() -> None:
    found = parse(
        f"{RAY}NET/IB : Using [0]rocep1s0f1:1/RoCE [RO]; OOB enp1s0f1np1:192.168.100.11<0>\n"
        f"{RAY}Using network IBext_v10\n"
        f"{RAY}Channel 00/0 : 1[0] -> 0[0] [receive] via NET/IBext_v10/0\n"
        f"{RAY}Channel 01/0 : 0[0] -> 1[0] [send] via NET/IB/0\n"
        f"{RAY}Channel 02/0 : 0[0] -> 1[0] via SHM/direct/direct\n"
        f"{RAY}Channel 03/0 : 0[0] -> 1[0] via P2P/IPC\n"
        f"{RAY}GPU Direct RDMA (DMABUF) enabled for HCA 0\n"
    )
    assert (found.network, found.channels_ib, found.channels_socket) == ("IB", 2, 0)
    assert found.devices == ("rocep1s0f1",)
    assert not found.gdr
    assert not found.mixed


def test_gdr_is_read_from_the_channels() -> None:
    assert parse("Channel 00/0 : 0[0] -> 1[0] [send] via NET/IB/0/GDRDMA").gdr
    assert parse("x:1:2 [0] NCCL INFO Connected all rings, use ring PXN 0 GDR 1").gdr


def test_two_communicators_that_differ() -> None:
    found = parse("NCCL INFO Using network IB\nNCCL INFO Using network Socket\n")
    assert found.network == "Socket"
    assert found.networks == ("IB", "Socket")
    assert found.mixed


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("NCCL WARN Call to ibv_modify_qp failed with error Connection timed out", "ibv_modify_qp"),
        ("NET/IB : Got completion from peer 1.2.3.4 with status=12 opcode=0", "status 12"),
        ("ncclRemoteError: A call failed", "a rank is gone, or the network to it"),
    ],
)
def test_failures(line: str, words: str) -> None:
    failed = parse(line).failed
    assert failed is not None
    assert words in failed


def test_gid_table_changed_is_a_warning() -> None:
    found = parse("NCCL INFO Using network IB\nNET/IB : rocep1s0f1:1 GID table changed\n")
    assert found.warnings == ("the GID table changed while the job ran",)
    assert found.failed is None


H200 = DATA.parent / "h200"


def test_a_socket_interface_without_a_pci_bus_is_no_soft_roce() -> None:
    """As recorded with NCCL_DEBUG_SUBSYS=…,GRAPH on two H200s: three such lines a rank."""
    text = (H200 / "debug-rank0.out").read_text()
    assert text.count("Could not find real path of /sys/class/pci_bus/fffffff") == 3
    assert not [line for line in parse(text).warnings if "soft-RoCE" in line]


def test_soft_roce_is_told_by_its_device() -> None:
    assert witness("ib-rxe-2.20.log").warnings == ("rxe0 has no PCI device: soft-RoCE",)


SAMPLE_LINES = [line for path in DATA.iterdir() for line in path.read_text().splitlines()]


@given(st.lists(st.one_of(st.text(), st.sampled_from(SAMPLE_LINES))))
def test_parse_takes_any_text(lines: list[str]) -> None:
    text = "\n".join(lines)
    found = parse(text)
    assert describe(found)
    assert found.channels_ib + found.channels_socket <= text.count("via NET/")
    assert len(list(by_process(text))) == text.count("\n") + 1

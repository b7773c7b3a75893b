"""The stand-in decides about networks, devices and GIDs as NCCL does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spark_cluster.lab.engine import nccl, sysfs
from spark_cluster.lab.engine.nccl import Gid, Interface, NameList, Port
from spark_cluster.lab.engine.nccl_log import NcclLog

DATA = Path(__file__).parent / "data" / "nccl"
FE80 = "fe80:0000:0000:0000:0000:00ff:fe00:0001"
V4 = "0000:0000:0000:0000:0000:ffff:c0a8:640a"  # 192.168.100.10
V4_OTHER = "0000:0000:0000:0000:0000:ffff:c0a8:650a"  # 192.168.101.10
V6 = "2001:0db8:0000:0000:0000:0000:0000:0001"


@pytest.mark.parametrize(
    ("text", "device", "port", "selected"),
    [
        ("", "rocep1s0f1", 1, True),
        ("=rocep1s0f1:1", "rocep1s0f1", 1, True),
        ("=rocep1s0f1:1", "rocep1s0f1", 2, False),
        ("=rocep1s0f1", "rocep1s0f1", 2, True),
        ("=rocep1s0f", "rocep1s0f1", 1, False),
        ("=rocep1s0f1,roceP2p1s0f1", "roceP2p1s0f1", 1, True),
        ("rocep1s0f", "rocep1s0f1", 1, True),
        ("roce", "roceP2p1s0f1", 1, True),
        ("mlx5", "rocep1s0f1", 1, False),
        ("^rocep1s0f1", "rocep1s0f1", 1, False),
        ("^rocep1s0f1", "roceP2p1s0f1", 1, True),
        ("^roce", "roceP2p1s0f1", 1, False),
        ("^=rocep1s0f", "rocep1s0f1", 1, True),
        ("^=rocep1s0f1:1", "rocep1s0f1", 1, False),
        ("=^rocep1s0f1", "rocep1s0f1", 1, False),
        (",", "rocep1s0f1", 1, True),
    ],
)
def test_device_lists(text: str, device: str, port: int, selected: bool) -> None:
    assert NameList.parse(text).matches(device, port) is selected


def _port(name: str = "rocep1s0f1", *, active: bool = True, usable: bool = True) -> Port:
    return Port(name, 1, active, "Ethernet", usable, (Gid(0, FE80, "RoCE v2"),))


@pytest.mark.parametrize(
    ("env", "ports", "net", "devices"),
    [
        ({}, [_port()], "IB", ["rocep1s0f1"]),
        ({"NCCL_IB_HCA": "=rocep1s0f1:1"}, [_port(), _port("b")], "IB", ["rocep1s0f1"]),
        ({"NCCL_IB_HCA": "=rocep1s0f1:1,b:1"}, [_port(), _port("b")], "IB", ["rocep1s0f1", "b"]),
        ({"NCCL_IB_HCA": "=typo"}, [_port()], "Socket", []),
        ({"NCCL_IB_HCA": "=typo", "NCCL_NET": "IB"}, [_port()], "", []),
        ({"NCCL_NET": "Socket"}, [_port()], "Socket", []),
        ({"NCCL_NET": "ib"}, [_port()], "IB", ["rocep1s0f1"]),
        ({"NCCL_NET": "other"}, [_port()], "", []),
        ({"NCCL_IB_DISABLE": "1"}, [_port()], "Socket", []),
        ({"NCCL_IB_DISABLE": "1", "NCCL_NET": "IB"}, [_port()], "", []),
        ({}, [_port(usable=False)], "Socket", []),
        ({"NCCL_NET": "IB"}, [_port(usable=False)], "", []),
        ({"NCCL_NET": "IB"}, [_port(active=False)], "", []),
        ({}, [], "Socket", []),
    ],
)
def test_choice_of_network(
    env: dict[str, str], ports: list[Port], net: str, devices: list[str]
) -> None:
    decision = nccl.decide(nccl.select_hcas(ports, env), env)
    assert decision.net == net
    assert [hca.device for hca in decision.hcas] == devices
    assert bool(decision.error) is (net == "")


MLX5 = [
    Gid(0, FE80, "IB/RoCE v1"),
    Gid(1, FE80, "RoCE v2"),
    Gid(2, V4, "IB/RoCE v1"),
    Gid(3, V4, "RoCE v2"),
]
RXE = [Gid(0, FE80, "RoCE v2"), Gid(1, V4, "RoCE v2")]
SHIFTED = [Gid(0, FE80, "RoCE v2"), Gid(1, V6, "RoCE v2"), Gid(2, V4, "RoCE v2")]


@pytest.mark.parametrize(
    ("gids", "env", "index"),
    [
        (MLX5, {}, 3),
        (MLX5, {"NCCL_IB_ROCE_VERSION_NUM": "1"}, 2),
        (MLX5, {"NCCL_IB_GID_INDEX": "1"}, 1),
        (MLX5, {"NCCL_IB_GID_INDEX": "0"}, 0),
        (MLX5, {"NCCL_IB_GID_INDEX": "-1"}, 3),
        (MLX5, {"NCCL_IB_GID_INDEX": ""}, 3),
        (MLX5, {"NCCL_IB_GID_INDEX": "auto"}, 0),
        (RXE, {}, 1),
        (SHIFTED, {}, 2),
        (SHIFTED, {"NCCL_IB_ADDR_FAMILY": "AF_INET6"}, 1),
        ([Gid(0, FE80, "RoCE v2")], {}, 0),
        ([], {}, 0),
        (
            [*RXE, Gid(2, V4_OTHER, "RoCE v2")],
            {"NCCL_IB_ADDR_RANGE": "192.168.101.0/24"},
            2,
        ),
    ],
)
def test_gid_selection(gids: list[Gid], env: dict[str, str], index: int) -> None:
    assert nccl.select_gid(gids, env) == index


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({}, ["eth0", "enp1s0f1np1"]),
        ({"NCCL_SOCKET_IFNAME": "enp1s0f1np1"}, ["enp1s0f1np1"]),
        ({"NCCL_SOCKET_IFNAME": "=enp1s0f1"}, []),
        ({"NCCL_SOCKET_IFNAME": "^docker,lo,eth"}, ["enp1s0f1np1"]),
        ({"NCCL_SOCKET_IFNAME": "lo"}, ["lo"]),
    ],
)
def test_socket_interfaces(env: dict[str, str], names: list[str]) -> None:
    found = [
        Interface("lo", "127.0.0.1"),
        Interface("eth0", "10.0.2.15"),
        Interface("docker0", "172.17.0.1"),
        Interface("enp1s0f1np1", "192.168.100.10"),
    ]
    assert [item.name for item in nccl.select_interfaces(found, env)] == names


def _messages(text: str) -> list[str]:
    return re.findall(r"NCCL (?:INFO|WARN) (.*)", text)


def test_log_of_the_silent_fallback_is_nccls(capfd: pytest.CaptureFixture[str]) -> None:
    env = {"NCCL_DEBUG": "INFO", "NCCL_IB_HCA": "=rocep1s0f1:1", "NCCL_NET_PLUGIN": "none"}
    env["NCCL_DMABUF_ENABLE"] = "0"
    here = Interface("eth0", "192.0.2.2")
    log = NcclLog(env)
    log.bootstrap(here, config=True)
    log.ib_devices([], here)
    log.socket_devices([here])
    log.assigned("Socket")
    log.flush()
    real = (DATA / "nccl-2.28.9-socket-silent-fallback.rank0.log").read_text()
    mine = capfd.readouterr().out
    assert _messages(mine) == _messages(real)[: len(_messages(mine))]
    assert re.match(r"[\w.-]+:\d+:\d+ \[0\] NCCL INFO ", mine)


def test_log_of_the_refusal_is_nccls(capfd: pytest.CaptureFixture[str]) -> None:
    env = {"NCCL_DEBUG": "INFO", "NCCL_IB_HCA": "=rocep1s0f1:1", "NCCL_NET_PLUGIN": "none"}
    here = Interface("eth0", "192.0.2.2")
    log = NcclLog(env)
    log.bootstrap(here, config=True)
    log.ib_devices([], here)
    log.no_network()
    log.flush()
    real = (DATA / "nccl-2.28.9-ib-forced-no-device.rank0.log").read_text()
    mine = capfd.readouterr().out
    assert _messages(mine) == _messages(real)[: len(_messages(mine))]
    assert "plugin/net.cc:379 NCCL WARN Failed to initialize any NET plugin" in mine


def test_log_over_two_rails(capfd: pytest.CaptureFixture[str]) -> None:
    env = {"NCCL_DEBUG": "INFO"}
    here = Interface("enp1s0f1np1", "192.168.100.10")
    log = NcclLog(env)
    log.ib_devices([_port(), _port("roceP2p1s0f1")], here)
    log.connected(0, 2, "0x1", "IB", ["rocep1s0f1", "roceP2p1s0f1"])
    log.flush()
    text = capfd.readouterr().out
    assert (
        "NET/IB : Using [0]rocep1s0f1:1/RoCE [1]roceP2p1s0f1:1/RoCE [RO]; "
        "OOB enp1s0f1np1:192.168.100.10<0>" in text
    )
    assert "Channel 00/0 : 0[0] -> 1[0] [send] via NET/IB/0" in text
    assert "Channel 01/0 : 1[0] -> 0[0] [receive] via NET/IB/1" in text
    assert "GDRDMA" not in text


def test_no_log_without_debug(capfd: pytest.CaptureFixture[str]) -> None:
    log = NcclLog({})
    log.bootstrap(Interface("lo", "127.0.0.1"))
    log.no_network()
    log.flush()
    assert capfd.readouterr().out == ""


def test_ports_are_read_from_sysfs(tmp_path: Path) -> None:
    port = tmp_path / "sys/class/infiniband/rocep1s0f1/ports/1"
    for folder in ("gids", "gid_attrs/types", "gid_attrs/ndevs"):
        (port / folder).mkdir(parents=True)
    (port / "state").write_text("4: ACTIVE\n")
    (port / "link_layer").write_text("Ethernet\n")
    for slot, gid in enumerate((FE80, V4, "0000:0000:0000:0000:0000:0000:0000:0000")):
        (port / f"gids/{slot}").write_text(gid + "\n")
    (port / "gid_attrs/types/1").write_text("RoCE v2\n")
    (port / "gid_attrs/ndevs/1").write_text("enp1s0f1np1\n")
    verbs = tmp_path / "sys/class/infiniband_verbs/uverbs0"
    verbs.mkdir(parents=True)
    (verbs / "ibdev").write_text("rocep1s0f1\n")
    sys, dev = str(tmp_path / "sys"), str(tmp_path / "dev")

    (found,) = sysfs.rdma_ports(sys, dev)
    assert not found.usable, "no character file: the container has no --device=/dev/infiniband"
    (tmp_path / "dev/infiniband").mkdir(parents=True)
    (tmp_path / "dev/infiniband/uverbs0").write_text("")
    (found,) = sysfs.rdma_ports(sys, dev)
    assert found.usable
    assert found.active
    assert found.gids[1] == Gid(1, V4, "RoCE v2", "enp1s0f1np1")
    assert [gid.slot for gid in found.gids] == [0, 1]

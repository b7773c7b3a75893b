"""NCCL's INFO lines, in the wording of 2.28.9 (see the recorded logs in the unit tests)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence

from .logs import out
from .nccl import VERSION, Interface, Port

# Variables that NCCL repeats in its log, with the full stop that ncclLoadParam adds to numbers.
_NUMBERS = (
    "NCCL_IB_DISABLE",
    "NCCL_IB_GID_INDEX",
    "NCCL_IB_ROCE_VERSION_NUM",
    "NCCL_IB_MERGE_NICS",
    "NCCL_IB_SUBNET_AWARE_ROUTING",
    "NCCL_IB_TIMEOUT",
    "NCCL_IB_RETRY_CNT",
    "NCCL_DMABUF_ENABLE",
    "NCCL_NET_GDR_C2C",
)
_WORDS = ("NCCL_NET_GDR_LEVEL", "NCCL_IB_ADDR_FAMILY", "NCCL_IB_ADDR_RANGE")


class NcclLog:
    """Prints if NCCL_DEBUG asks for it, with the prefix `host:pid:tid [0] NCCL INFO`."""

    def __init__(self, env: Mapping[str, str]) -> None:
        level = env.get("NCCL_DEBUG", "").upper()
        self._info = level in ("INFO", "TRACE", "ABORT")
        self._warn = self._info or level == "WARN"
        self._version = self._info or level in ("WARN", "VERSION")
        pid = os.getpid()
        self._prefix = f"{socket.gethostname().split('.')[0]}:{pid}:{pid} [0]"

    def info(self, text: str) -> None:
        """One INFO line."""
        if self._info:
            out(f"{self._prefix} NCCL INFO {text}")

    def warn(self, where: str, text: str) -> None:
        """One WARN line, after an empty one, as NCCL prints it."""
        if self._warn:
            stamp = time.strftime("[%Y-%m-%d %H:%M:%S]")
            out(f"\n{stamp} {self._prefix} {where} NCCL WARN {text}")

    def bootstrap(self, interface: Interface, env: Mapping[str, str]) -> None:
        """The lines before any network is chosen."""
        self.info("ENV/Plugin: Could not find: libnccl-env.so")
        if env.get("NCCL_SOCKET_IFNAME"):
            self.info(f"NCCL_SOCKET_IFNAME set by environment to {env['NCCL_SOCKET_IFNAME']}")
        self.info(f"Bootstrap: Using {interface.name}:{interface.address}<0>")
        self.info("cudaDriverVersion 13000")
        if self._info:
            self.info(f"NCCL version {VERSION}")
        elif self._version:
            out(f"NCCL version {VERSION}")
        self.info("Comm config Blocking set to 1")
        if env.get("NCCL_NET_PLUGIN"):
            self.info(f"NCCL_NET_PLUGIN set by environment to {env['NCCL_NET_PLUGIN']}")
        else:
            self.info("NET/Plugin: Could not find: libnccl-net.so")

    def ib_devices(
        self, hcas: Sequence[Port], interface: Interface, env: Mapping[str, str]
    ) -> None:
        """`NET/IB : Using …`, or `No device found.` and a list that names none."""
        if env.get("NCCL_IB_HCA"):
            self.info(f"NCCL_IB_HCA set to {env['NCCL_IB_HCA']}")
        if not hcas:
            self.info("NET/IB : No device found.")
        names = "".join(
            f" [{i}]{hca.device}:{hca.port}/{'RoCE' if hca.link_layer == 'Ethernet' else 'IB'}"
            for i, hca in enumerate(hcas)
        )
        self.info(f"NET/IB : Using{names} [RO]; OOB {interface.name}:{interface.address}<0>")
        if not hcas:
            self.info("Failed to initialize NET plugin IB")

    def socket_devices(self, interfaces: Sequence[Interface]) -> None:
        """`NET/Socket : Using [0]enp1s0f1np1:192.168.100.10<0>`."""
        names = "".join(f" [{i}]{x.name}:{x.address}<0>" for i, x in enumerate(interfaces))
        self.info(f"NET/Socket : Using{names}")

    def assigned(self, net: str, env: Mapping[str, str]) -> None:
        """The network is chosen; the tuning variables follow."""
        self.info(f"Initialized NET plugin {net}")
        self.info(f"Assigned NET plugin {net} to comm")
        self.info(f"Using network {net}")
        for name in _NUMBERS:
            if env.get(name):
                self.info(f"{name} set by environment to {env[name]}.")
        for name in _WORDS:
            if env.get(name):
                self.info(f"{name} set by environment to {env[name]}")

    def init_start(self, rank: int, size: int, comm: str) -> None:
        """The communicator starts."""
        self.info(
            f"ncclCommInitRankConfig comm {comm} rank {rank} nranks {size} cudaDev 0 "
            f"nvmlDev 0 busId f01000 commId 0x5ba7c1a5{comm[-8:]} - Init START"
        )

    def connected(self, rank: int, size: int, comm: str, net: str, devices: int) -> None:
        """Channels, rings and trees: two channels, spread over the devices."""
        order = " ".join(str(i) for i in range(size))
        channels = range(max(2, devices))
        total = len(channels)
        for channel in channels:
            self.info(f"Channel {channel:02d}/{total:02d} : {order}")
        self.info("P2P Chunksize set to 131072")
        self.info(
            f"{total} coll channels, {total} collnet channels, 0 nvls channels, "
            f"{total} p2p channels, {total} p2p channels per peer"
        )
        self.info(
            f"ncclCommInitRankConfig comm {comm} rank {rank} nranks {size} cudaDev 0 "
            f"nvmlDev 0 busId f01000 commId 0x5ba7c1a5{comm[-8:]} - Init COMPLETE"
        )
        before, after = (rank - 1) % size, (rank + 1) % size
        for channel in channels:
            via = f"via NET/{net}/{channel % devices}"
            self.info(f"Channel {channel:02d}/0 : {before}[0] -> {rank}[0] [receive] {via}")
        for channel in channels:
            via = f"via NET/{net}/{channel % devices}"
            self.info(f"Channel {channel:02d}/0 : {rank}[0] -> {after}[0] [send] {via}")
        self.info("Connected all rings, use ring PXN 0 GDR 0")

    def no_network(self) -> None:
        """The job ends here: no network that the environment allows."""
        self.warn("plugin/net.cc:379", "Failed to initialize any NET plugin")
        for where in ("init.cc:421", "init.cc:1572", "group.cc:76", "group.cc:537"):
            tail = " [Async thread]" if where == "group.cc:76" else ""
            self.info(f"{where} -> 5{tail}")

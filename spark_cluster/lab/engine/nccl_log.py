"""NCCL's INFO lines, in the wording of 2.28.9 (see the recorded logs in the unit tests)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence

from .logs import Stdio, out
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
_DEFAULT_SUBSYSTEMS = "INIT,BOOTSTRAP,ENV"
_BUS = "f01000"


class NcclLog:
    """Prints if NCCL_DEBUG asks for it, with the prefix `host:pid:tid [0] NCCL INFO`.

    Through C's buffer: `flush` is for a process that ends in order.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        level = env.get("NCCL_DEBUG", "").upper()
        self._info = level in ("INFO", "TRACE", "ABORT")
        self._warn = self._info or level == "WARN"
        self._version = self._info or level in ("WARN", "VERSION")
        subsystems = env.get("NCCL_DEBUG_SUBSYS") or _DEFAULT_SUBSYSTEMS
        self._subsystems = set(subsystems.upper().split(","))
        self._env = env
        self._host = socket.gethostname().split(".")[0]
        self._proxy = os.getpid()
        self._stdio = Stdio()

    def flush(self) -> None:
        """Write what is still held back."""
        self._stdio.flush()

    def _prefix(self, thread: int = 0) -> str:
        pid = os.getpid()
        return f"{self._host}:{pid}:{thread or pid} [0]"

    def info(self, text: str, subsystem: str = "INIT", thread: int = 0) -> None:
        """One INFO line, if its subsystem is asked for."""
        if self._info and self._subsystems & {"ALL", subsystem}:
            self._stdio.line(f"{self._prefix(thread)} NCCL INFO {text}")

    def warn(self, where: str, text: str) -> None:
        """One WARN line, after an empty one, as NCCL prints it."""
        if self._warn:
            stamp = time.strftime("[%Y-%m-%d %H:%M:%S]")
            self._stdio.line(f"\n{stamp} {self._prefix()} {where} NCCL WARN {text}")

    def _set(self, name: str, end: str = "") -> None:
        if self._env.get(name):
            self.info(f"{name} set by environment to {self._env[name]}{end}", "ENV")

    # -- the network ----------------------------------------------------------------------

    def bootstrap(self, interface: Interface, *, rank: int = 0, config: bool = False) -> None:
        """The lines before any network is chosen; `config`: torch's call, not vLLM's own."""
        self.info("ENV/Plugin: Could not find: libnccl-env.so")
        if rank:  # rank 0 has made the unique id, and so looked at the network first
            self.info("cudaDriverVersion 13000")
        self._set("NCCL_SOCKET_IFNAME")
        if self._env.get("NCCL_SOCKET_IFNAME"):
            self.info(f"NCCL_SOCKET_IFNAME set to {self._env['NCCL_SOCKET_IFNAME']}", "NET")
        self.info(f"Bootstrap: Using {interface.name}:{interface.address}<0>", "BOOTSTRAP")
        if not rank:
            self.info("cudaDriverVersion 13000")
        if self._info:
            self.info(f"NCCL version {VERSION}")
        elif self._version:
            out(f"NCCL version {VERSION}")
        if config:
            self.info("Comm config Blocking set to 1")
        if self._env.get("NCCL_NET_PLUGIN"):
            self._set("NCCL_NET_PLUGIN")
        else:
            self.info("NET/Plugin: Could not find: libnccl-net.so")

    def ib_devices(self, hcas: Sequence[Port], interface: Interface) -> None:
        """`NET/IB : Using …`, or `No device found.` and a list that names none."""
        self._set("NCCL_SOCKET_IFNAME")
        if self._env.get("NCCL_IB_HCA"):
            self.info(f"NCCL_IB_HCA set to {self._env['NCCL_IB_HCA']}")
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
        self._set("NCCL_SOCKET_IFNAME")
        names = "".join(f" [{i}]{x.name}:{x.address}<0>" for i, x in enumerate(interfaces))
        self.info(f"NET/Socket : Using{names}")

    def assigned(self, net: str, *, first: bool = True) -> None:
        """The network is chosen; with the first communicator the tuning variables follow."""
        self.info(f"Initialized NET plugin {net}")
        self.info(f"Assigned NET plugin {net} to comm")
        self.info(f"Using network {net}")
        if first:
            for name in _NUMBERS:
                self._set(name, ".")
            for name in _WORDS:
                self._set(name)

    # -- communicators ----------------------------------------------------------------------

    def _comm(self, call: str, comm: str, rank: int, size: int, state: str) -> None:
        self.info(
            f"{call} comm {comm} rank {rank} nranks {size} cudaDev 0 nvmlDev 0 busId {_BUS} "
            f"commId 0x5ba7c1a5{comm[-8:]} - Init {state}"
        )

    def connected(
        self,
        rank: int,
        size: int,
        comm: str,
        net: str,
        devices: Sequence[str],
        *,
        call: str = "ncclCommInitRank",
        first: bool = True,
    ) -> None:
        """One communicator, from its start to its rings: two channels or more, spread over the
        devices."""
        self._comm(call, comm, rank, size, "START")
        if first:
            self.info("RAS client listening socket at 127.0.0.1<28028>")
        self.info("MNNVL busId 0xf01000 fabric UUID 0.0 cliqueId 0x0 state 3 healthMask 0x0")
        for index, device in enumerate(devices):
            text = f"NET/{net} : GPU Direct RDMA Disabled for HCA {index} '{device}'"
            self.info(text, "NET")
        self.info(
            "ncclTopoGetCpuAffinity: Affinity for GPU 0 is empty, ignoring. (GPU affinity =  ; CPU "
            f"affinity = 0-{(os.cpu_count() or 1) - 1})."
        )
        if first:
            self._set("NCCL_NVLS_ENABLE", ".")
        self.info(
            f"comm {comm} rank {rank} nRanks {size} nNodes {size} localRanks 1 localRank 0 MNNVL 0"
        )
        channels = range(max(2, len(devices)))
        total = len(channels)
        if rank == 0:
            order = " ".join(str(i) for i in range(size))
            for channel in channels:
                self.info(f"Channel {channel:02d}/{total:02d} : {order}")
        self.info(f"Trees {_trees(rank, size, total)}")
        self.info("P2P Chunksize set to 131072")
        if first:
            self.info("PROFILER/Plugin: Could not find: libnccl-profiler.so")
        self.info("Check P2P Type isAllDirectP2p 1 directMode 0 isAllCudaP2p 1")
        self._proxy += 22
        self.info("[Proxy Service] Device 0 CPU core 2", thread=self._proxy)
        self.info("[Proxy Service UDS] Device 0 CPU core 3", thread=self._proxy + 1)
        if first:
            self.info("TUNER/Plugin: Could not find: libnccl-tuner.so")
        self.info("threadThresholds 8/8/64 | 16/8/64 | 512 | 512")
        self.info(
            f"{total} coll channels, {total} collnet channels, 0 nvls channels, "
            f"{total} p2p channels, {total} p2p channels per peer"
        )
        if rank == 0:
            self.info("CC Off, workFifoBytes 1048576")
        self._comm(call, comm, rank, size, "COMPLETE")
        self.info(
            f"Init timings - {call}: rank {rank} nranks {size} total 0.40 (kernels 0.33, "
            "alloc 0.00, bootstrap 0.05, allgathers 0.00, topo 0.01, graphs 0.00, "
            "connections 0.00, rest 0.00)"
        )
        self._channels(rank, size, net, max(1, len(devices)), total)

    def _channels(self, rank: int, size: int, net: str, devices: int, total: int) -> None:
        before, after = (rank - 1) % size, (rank + 1) % size
        number = 0
        for way, line in (
            ("recv", f"{before}[0] -> {rank}[0] [receive]"),
            ("send", f"{rank}[0] -> {after}[0] [send]"),
        ):
            for channel in range(total):
                text = f"New proxy {way} connection {number} from local rank 0, transport 2"
                self.info(text, "NET", self._proxy)
                address = 0x7F368C004F40 + 0x78 * number
                self.info(f"Connected to proxy localRank 0 -> connection {address:#x}", "NET")
                if number == 0:
                    self.info("[Proxy Progress] Device 0 CPU core 4", thread=self._proxy + 2)
                self.info(f"Channel {channel:02d}/0 : {line} via NET/{net}/{channel % devices}")
                number += 1
        self.info("Connected all rings, use ring PXN 0 GDR 0")

    def no_network(self) -> None:
        """The job ends here: no network that the environment allows."""
        self.warn("plugin/net.cc:379", "Failed to initialize any NET plugin")
        for where in ("init.cc:421", "init.cc:1572", "group.cc:76", "group.cc:537"):
            tail = " [Async thread]" if where == "group.cc:76" else ""
            self.info(f"{where} -> 5{tail}")


def _trees(rank: int, size: int, total: int) -> str:
    """Chains, one way on the even channels and the other way on the odd ones."""
    down, up = (rank + 1 if rank + 1 < size else -1), rank - 1
    even, odd = f"{down}/-1/-1->{rank}->{up}", f"{up}/-1/-1->{rank}->{down}"
    return " ".join(f"[{i}] {odd if i % 2 else even}" for i in range(total))

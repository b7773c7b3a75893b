"""Why NCCL cannot use RDMA, or uses the wrong device: from what the container was given, the
device lists in its environment, the ports and the GID tables. The code of each is its diagnosis."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from spark_cluster.core.reason import Reason
from spark_cluster.core.units import human_bytes, number
from spark_cluster.rdma.counters import CounterReading
from spark_cluster.rdma.evidence import Rank
from spark_cluster.rdma.gids import DeviceGids, find_gid
from spark_cluster.rdma.nccl_log import NcclWitness

#: NCCL registers 4 MiB (NCCL_BUFFSIZE) for each channel and way; the usual limit of 8 MiB holds
#: one channel.
MEMLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class ContainerAccess:
    """What a container really has.

    `devices`: RDMA devices whose character file it holds. `memlock` in bytes, None without limit.
    `ipc_lock`: CAP_IPC_LOCK, which lifts that limit. `env`: the NCCL_ variables of its first
    process.
    """

    container: str
    devices: tuple[str, ...] = ()
    memlock: int | None = None
    ipc_lock: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What is known of one rank's side; None where it was not read. `addresses`: the rails' IPv4
    addresses by device. `gids_before`: of the first reading."""

    rank: Rank
    grants: ContainerAccess | None = None
    reading: CounterReading | None = None
    gids: Mapping[str, DeviceGids] | None = None
    gids_before: Mapping[str, DeviceGids] | None = None
    witness: NcclWitness | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> Mapping[str, str]:
        """NCCL's own word over the container's: the engine's driver may have set it anew."""
        given = self.grants.env if self.grants else {}
        return {**given, **(self.witness.env if self.witness else {})}


def selected(choice: str, device: str, port: int = 1) -> bool:
    """Whether NCCL_IB_HCA selects a device: `[^][=]name[:port],…`, prefixes unless `=`, all but
    these with `^`. An empty list selects all (NCCL 2.30, src/misc/utils.cc)."""
    exclude = choice.startswith("^")
    exact = choice.removeprefix("^").startswith("=")
    names = [name for name in choice.removeprefix("^").removeprefix("=").split(",") if name]
    if not names:
        return not exclude
    return any(_fits(name, device, port, exact=exact) for name in names) != exclude


def _fits(entry: str, device: str, port: int, *, exact: bool) -> bool:
    name, _, wanted = entry.partition(":")
    if (asked := number(wanted)) is not None and asked != port:
        return False
    return device == name if exact else device.startswith(name)


def causes(setting: Setting) -> list[Reason]:
    """Everything that speaks against RDMA on this rank, the plainest first."""
    return [*_container(setting), *_devices(setting), *_ports(setting), *_gids(setting)]


#: What vLLM and SGLang set in their own processes.
_ENGINES = frozenset({"NCCL_CUMEM_ENABLE", "NCCL_NVLS_ENABLE", "NCCL_GRAPH_MIXING_SUPPORT"})


def from_a_file(setting: Setting) -> list[str]:
    """Variables that NCCL says it was given and that the container's environment has not. NCCL
    reads nccl.conf without a word of it; a leftover in an image was seen to freeze a job."""
    grants, witness = setting.grants, setting.witness
    if grants is None or not grants.env or witness is None:
        return []
    names = sorted(witness.env.keys() - grants.env.keys() - _ENGINES)
    if not names:
        return []
    told = ", ".join(f"{name}={witness.env[name]}" for name in names)
    return [
        f"{setting.rank.where}: NCCL was given {told}, which the environment of "
        f"{grants.container} has not: /etc/nccl.conf or ~/.nccl.conf in its image has it, or the "
        "engine sets it."
    ]


def _container(setting: Setting) -> Iterator[Reason]:
    grants = setting.grants
    if grants is None:
        return
    where = f"{grants.container} on {setting.rank.where}"
    missing = [r.device for r in setting.rank.rails if r.device not in grants.devices]
    there = [name for name in missing if _present(setting, name)]
    if there and not grants.devices:
        yield Reason(
            "RDMA017", f"{where} has no /dev/infiniband: NCCL cannot open any RDMA device."
        )
    elif there:
        yield Reason("RDMA017", f"{where} lacks the /dev/infiniband file of {', '.join(there)}.")
    if grants.memlock is not None and grants.memlock < MEMLOCK_BYTES and not grants.ipc_lock:
        yield Reason(
            "RDMA017",
            f"{where} may lock {human_bytes(grants.memlock)} of memory and lacks IPC_LOCK: NCCL "
            "cannot register its buffers.",
        )


def _present(setting: Setting, device: str) -> bool:
    found = setting.reading.devices.get(device) if setting.reading else None
    return found is not None and found.present


def _devices(setting: Setting) -> Iterator[Reason]:
    env, rank = setting.env, setting.rank
    if env.get("NCCL_NET", "").lower() == "socket":
        yield Reason("RDMA018", f"{rank.where}: NCCL_NET=Socket asks for sockets.")
    if env.get("NCCL_IB_DISABLE", "0") not in ("", "0"):
        yield Reason("RDMA018", f"{rank.where}: NCCL_IB_DISABLE turns RDMA off.")
    choice = env.get("NCCL_IB_HCA", "")
    if not choice or setting.reading is None:
        return
    present = [name for name, found in setting.reading.devices.items() if found.present]
    chosen = [name for name in present if selected(choice, name)]
    named = [rail.device for rail in rank.rails]
    told = f"{rank.where}: NCCL_IB_HCA is {choice}, which selects"
    if present and not chosen:
        yield Reason("RDMA018", f"{told} none of the host's devices ({', '.join(present)}).")
    elif chosen and set(chosen) != set(named):
        yield Reason("RDMA018", f"{told} {', '.join(chosen)}; the recipe names {', '.join(named)}.")


def _ports(setting: Setting) -> Iterator[Reason]:
    for rail in setting.rank.rails:
        found = setting.reading.devices.get(rail.device) if setting.reading else None
        where = f"{setting.rank.where}, {rail.device}"
        if found is not None and not found.present:
            yield Reason("RDMA001", f"{where}: the device is not there.")
        elif found is not None and found.state and found.state != "ACTIVE":
            yield Reason("RDMA002", f"{where}: the port is {found.state}.")


def _gids(setting: Setting) -> Iterator[Reason]:
    for rail in setting.rank.rails:
        address = setting.addresses.get(rail.device, "")
        table = setting.gids.get(rail.device) if setting.gids else None
        if not address or table is None or not table.present:
            continue
        where = f"{setting.rank.where}, {rail.device}"
        now = find_gid(table.entries, address)
        if now is None:
            yield Reason("RDMA003", f"{where}: no RoCE v2 GID maps {address}.")
            continue
        before = setting.gids_before.get(rail.device) if setting.gids_before else None
        earlier = find_gid(before.entries, address) if before else None
        for index, when in (
            (earlier.index if earlier else None, "at the first reading"),
            (_logged(setting, rail.device, address), "when NCCL connected"),
        ):
            if index is not None and index != now.index:
                yield Reason(
                    "RDMA019",
                    f"{where}: the GID of {address} had index {index} {when} and has {now.index} "
                    "now.",
                )
                break
        yield from _pinned(setting, table, address, where, now.index)


def _logged(setting: Setting, device: str, address: str) -> int | None:
    """The GID index of the rail's address in NCCL's log."""
    used = setting.witness.gids if setting.witness else ()
    return next(
        (use.index for use in used if use.address == address and use.device in ("", device)), None
    )


def _pinned(
    setting: Setting, table: DeviceGids, address: str, where: str, right: int
) -> Iterator[Reason]:
    text = setting.env.get("NCCL_IB_GID_INDEX", "")
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or int(text) == right:
        return
    entry = next((entry for entry in table.entries if entry.index == int(text)), None)
    if entry is not None and entry.ipv4 == address and entry.roce_version in (None, "v2"):
        return
    holds = "nothing" if entry is None else entry.ipv4 or entry.gid
    if entry is not None and entry.ipv4 == address:
        holds = f"{address} in RoCE {entry.roce_version}"
    yield Reason(
        "RDMA019",
        f"{where}: NCCL_IB_GID_INDEX is pinned to {text}, which is {holds}; the GID of {address} "
        f"has index {right}.",
    )

"""What NCCL's own log says of its transport: the second witness of the proof.

Written for NCCL 2.19 to 2.30 at NCCL_DEBUG=INFO, whatever Ray or vLLM put before its lines. Ray may
fold repeated lines into one ("[repeated 12x across cluster]"), so counts are lower bounds.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Network = Literal["IB", "Socket"]

#: Releases that users report to fail on these machines, and how. 2.28.9: vllm issues 42354, 52504.
KNOWN_BAD = {"2.28.9": "reported to hang between two Sparks; 2.30.4 is reported to work"}


@dataclass(frozen=True)
class GidUse:
    """A connection's end as NCCL logs it: index and address of its GID, and RoCE's MTU in bytes
    (None if it is not one of enum ibv_mtu)."""

    index: int
    address: str
    mtu: int | None
    device: str = ""


@dataclass(frozen=True)
class NcclWitness:
    """What a log says.

    version         such as `2.28.9`
    devices         RDMA devices that NCCL chose (`rocep1s0f1`), in its order; empty if none
    oob             interface and address of its own control connections
    network         transport that the last communicator chose; None if the log does not say.
                    Devices alone do not tell: NCCL lists them before it chooses
    networks        every choice in the log, in order: two that differ are two communicators
    channels_ib     channels over RDMA; channels_socket: over TCP. P2P and SHM channels stay inside
                    a host and count for neither
    gdr             channels or rings report GPUDirect RDMA. The line "GPU Direct RDMA enabled"
                    alone is no sign of it and is passed over
    failed          why NCCL gave up; None if it did not
    env             variables that NCCL says it was given
    warnings        what it complained about and went on
    rank, nranks    of the largest communicator, the last of several
    gids            each GID that its connections use, once
    """

    version: str | None = None
    devices: tuple[str, ...] = ()
    oob: str | None = None
    network: Network | None = None
    channels_ib: int = 0
    channels_socket: int = 0
    gdr: bool = False
    failed: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    networks: tuple[Network, ...] = ()
    warnings: tuple[str, ...] = ()
    rank: int | None = None
    nranks: int | None = None
    gids: tuple[GidUse, ...] = ()

    @property
    def says_anything(self) -> bool:
        """Whether it is a rank's log at all."""
        return bool(self.devices or self.networks or self.failed or self.network or self.version)

    @property
    def channels(self) -> int:
        """Channels to other hosts."""
        return self.channels_ib + self.channels_socket

    @property
    def mixed(self) -> bool:
        """Whether the log shows both transports, by choice or by channel."""
        kinds = set(self.networks)
        kinds |= {"IB"} if self.channels_ib else set()
        kinds |= {"Socket"} if self.channels_socket else set()
        return len(kinds) > 1

    @property
    def fell_back(self) -> bool:
        """Whether NCCL tried RDMA, found it unusable, and took sockets without an error."""
        return self.network == "Socket" and any("NET/IB" in line for line in self.warnings)


_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PROCESS = re.compile(r"(\S+):(\d+):\d+ \[-?\d+\] ")
_VERSION = re.compile(r"NCCL version ([0-9][0-9.]*[0-9])|nccl==([0-9][0-9.]*[0-9])", re.ASCII)
_USING = re.compile(r"NET/IB\w* ?: Using (.*)$")
_DEVICE = re.compile(r"\[\d+\]\s*([A-Za-z0-9_.+-]+):\d+/", re.ASCII)
_OOB = re.compile(r"OOB ([^\s<]+)")
_BOOTSTRAP = re.compile(r"Bootstrap ?: Using ([^\s<]+)")
_NETWORK = re.compile(r"Using network (\S+)")
_PLUGIN = re.compile(r"Assigned NET plugin (\S+) to comm")
_CHANNEL = re.compile(r"\bvia NET/([A-Za-z]\w*)/", re.ASCII)
_GDR = re.compile(r"/GDRDMA\b|Connected all \w+.*\bGDR 1\b")
_ENVIRONMENT = re.compile(r"\b(NCCL_[A-Z0-9_]+) set (?:by environment )?to (.*)$", re.ASCII)
_GID = re.compile(
    r"NET/IB ?:.* IB_?Dev (\d{1,3}) .*\bmtu (\d) .*\bGID (\d{1,4}) "
    r"\(([0-9A-F]{1,16})/([0-9A-F]{1,16})\)",
    re.ASCII | re.IGNORECASE,
)
#: enum ibv_mtu: the number in the log -> bytes.
_MTU = {"1": 256, "2": 512, "3": 1024, "4": 2048, "5": 4096}
_RANK = re.compile(r"\brank (\d{1,6}) n[rR]anks (\d{1,6})\b", re.ASCII)

#: NCCL gave up. In order of how much they explain.
_FAILURES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"Failed to initialize any NET plugin"),
        "no network could be initialised: with NCCL_NET=IB no usable RDMA device was found",
    ),
    (
        re.compile(r"Call to (ibv_\w+) failed(?: with error (.*))?"),
        "a verbs call failed: {0} {1}",
    ),
    (
        re.compile(r"Got completion .*\bstatus[= ]?(\d+)"),
        "an RDMA transfer ended with completion status {0}",
    ),
    (
        re.compile(
            r"\b(ncclInvalidUsage|ncclSystemError|ncclInternalError|ncclRemoteError"
            r"|ncclUnhandledCudaError|ncclInvalidArgument)\b"
        ),
        "NCCL ended with {0}",
    ),
)

#: NCCL complained and went on.
_WARNINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"NET/IB\w* ?: No device found"), "NET/IB found no device"),
    (re.compile(r"Failed to initialize NET plugin IB"), "NET/IB could not be initialised"),
    (re.compile(r"GID table changed"), "the GID table changed while the job ran"),
    # The same is said of the PCI bus of whatever NIC is none, such as an interface for sockets.
    (
        re.compile(r"Could not find real path of (\S+) \(/sys/class/infiniband/"),
        "{0} has no PCI device: soft-RoCE",
    ),
)


def network_kind(name: str) -> Network | None:
    """`IB` for the built-in transport and its plugins (`IBext_v10`), `Socket`, None otherwise."""
    if name.startswith("IB"):
        return "IB"
    return "Socket" if name.startswith("Socket") else None


@dataclass
class _Notes:
    version: str | None = None
    devices: list[str] = field(default_factory=list)
    oob: str | None = None
    networks: list[Network] = field(default_factory=list)
    plugins: list[Network] = field(default_factory=list)
    channels: dict[Network, int] = field(default_factory=lambda: {"IB": 0, "Socket": 0})
    gdr: bool = False
    failures: dict[int, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    rank: tuple[int, int] | None = None
    gids: list[GidUse] = field(default_factory=list)


def gid_address(prefix: str, interface: str) -> str:
    """The address of a GID from its two halves as NCCL prints them: 64-bit numbers in the host's
    byte order, little-endian, in hexadecimal.

    >>> gid_address("0", "A64A8C0FFFF0000")
    '192.168.100.10'
    """
    raw = b"".join(int(half, 16).to_bytes(8, "little") for half in (prefix, interface))
    address = ipaddress.IPv6Address(raw)
    return str(address.ipv4_mapped or address)


def _fill(template: str, found: re.Match[str]) -> str:
    return template.format(*(group or "" for group in found.groups())).strip()


def _add_network(networks: list[Network], name: str) -> None:
    kind = network_kind(name)
    if kind:
        networks.append(kind)


def _note_using(notes: _Notes, line: str) -> None:
    """Devices and control address. The line may name no device at all: `Using [RO]; OOB …`."""
    using = _USING.search(line)
    if using:
        for device in _DEVICE.findall(using[1].partition("; OOB")[0]):
            if device not in notes.devices:
                notes.devices.append(device)
    oob = _OOB.search(line)
    if oob:
        notes.oob = oob[1]
    elif bootstrap := _BOOTSTRAP.search(line):
        notes.oob = notes.oob or bootstrap[1]


def _note_network(notes: _Notes, line: str) -> None:
    if found := _NETWORK.search(line):
        _add_network(notes.networks, found[1])
    if found := _PLUGIN.search(line):
        _add_network(notes.plugins, found[1])
    for name in _CHANNEL.findall(line):
        kind = network_kind(name)
        if kind:
            notes.channels[kind] += 1
    notes.gdr = notes.gdr or bool(_GDR.search(line))


def _note_trouble(notes: _Notes, line: str) -> None:
    for order, (pattern, template) in enumerate(_FAILURES):
        if found := pattern.search(line):
            notes.failures.setdefault(order, _fill(template, found))
    for pattern, template in _WARNINGS:
        if found := pattern.search(line):
            text = _fill(template, found)
            if text not in notes.warnings:
                notes.warnings.append(text)


def _note_rest(notes: _Notes, line: str) -> None:
    if found := _VERSION.search(line):
        notes.version = found[1] or notes.version or found[2]
    if found := _ENVIRONMENT.search(line):
        notes.env[found[1]] = found[2].strip().removesuffix(".")
    if (found := _RANK.search(line)) and int(found[2]) >= (notes.rank or (0, 0))[1]:
        notes.rank = (int(found[1]), int(found[2]))
    if found := _GID.search(line):
        number = int(found[1])
        device = notes.devices[number] if number < len(notes.devices) else ""
        use = GidUse(int(found[3]), gid_address(found[4], found[5]), _MTU.get(found[2]), device)
        if use not in notes.gids:
            notes.gids.append(use)


def _network(notes: _Notes) -> Network | None:
    """The last choice; failing that the plugin, then the channels if they agree."""
    for choices in (notes.networks, notes.plugins):
        if choices:
            return choices[-1]
    used: list[Network] = [kind for kind, count in notes.channels.items() if count]
    return used[0] if len(used) == 1 else None


def parse(text: str) -> NcclWitness:
    """What the log of one rank says. Lines of other programs are passed over."""
    notes = _Notes()
    for raw in text.split("\n"):
        line = _ANSI.sub("", raw).rstrip()
        _note_using(notes, line)
        _note_network(notes, line)
        _note_trouble(notes, line)
        _note_rest(notes, line)
    return NcclWitness(
        version=notes.version,
        devices=tuple(notes.devices),
        oob=notes.oob,
        network=_network(notes),
        channels_ib=notes.channels["IB"],
        channels_socket=notes.channels["Socket"],
        gdr=notes.gdr,
        failed=notes.failures[min(notes.failures)] if notes.failures else None,
        env=notes.env,
        networks=tuple(notes.networks),
        warnings=tuple(notes.warnings),
        rank=notes.rank[0] if notes.rank else None,
        nranks=notes.rank[1] if notes.rank else None,
        gids=tuple(notes.gids),
    )


def by_process(text: str) -> Iterator[tuple[str | None, str]]:
    """Each line with the `host:pid` that NCCL put before it (None: no line of NCCL's), without
    colours and without what Ray or vLLM put before that."""
    for raw in text.split("\n"):
        line = _ANSI.sub("", raw).rstrip()
        found = _PROCESS.search(line)
        yield (f"{found[1]}:{found[2]}", line[found.start() :]) if found else (None, line)


def parse_processes(text: str) -> dict[str, NcclWitness]:
    """A log into which several ranks wrote, one witness for each `host:pid`, in order of arrival.

    Lines without a process, such as `NCCL version …`, are given to all.
    """
    lines = list(by_process(text))
    processes = list(dict.fromkeys(process for process, _ in lines if process))
    return {
        process: parse("\n".join(line for owner, line in lines if owner in (process, None)))
        for process in processes
    }


def describe(witness: NcclWitness) -> str:
    """One line for a person: `network IB on rocep1s0f1, 4 channels over RDMA, 0 over TCP`."""
    if witness.failed:
        return f"failed: {witness.failed}"
    if witness.network is None:
        return "does not say which network it uses"
    on_rdma = witness.network == "IB" and witness.devices
    where = f" on {', '.join(witness.devices)}" if on_rdma else ""
    complaints = "".join(f"; {warning}" for warning in witness.warnings)
    return (
        f"network {witness.network}{where}, {witness.channels_ib} channels over RDMA, "
        f"{witness.channels_socket} over TCP{complaints}"
    )

"""What NCCL's own log says of its transport: the second witness of the proof.

Whatever Ray, docker or vLLM put before its lines. Which lines mean what stands in nccl_events.py.
Ray may fold repeated lines into one ("[repeated 12x across cluster]"), so counts are lower bounds.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from spark_cluster.rdma import log_lines
from spark_cluster.rdma.nccl_events import Event, gravest, read
from spark_cluster.rdma.nccl_events import describe as describe_event

Network = Literal["IB", "Socket"]


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
    events          what went wrong or nearly, in order
    plugin          network that is neither, by its name, if the last communicator chose one
    carriers        devices that channels over RDMA use, with the number of these
    unfinished      a communicator started (Init START) and none ever completed or connected. That
                    the last of several did not is no sign: NCCL's lines go through a buffer, of
                    which the end is not written while the process lives
    retrying        a connection that was tried again and of which nothing more is said
    build           what tells builds of one release apart: `+cuda13.0`, a branch and its commit
    finished        it ended in order: its communicators were destroyed, or nccl-tests summed up
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
    events: tuple[Event, ...] = ()
    plugin: str = ""
    carriers: Mapping[str, int] = field(default_factory=dict)
    unfinished: bool = False
    retrying: Event | None = None
    build: str = ""
    finished: bool = False

    @property
    def says_anything(self) -> bool:
        """Whether it is a rank's log at all."""
        return self.version is not None or self.says_more_than_its_release

    @property
    def says_more_than_its_release(self) -> bool:
        """Engines name the release of NCCL, too, where NCCL itself is silent."""
        chosen = self.devices or self.networks or self.network or self.plugin
        return bool(chosen or self.events or self.channels or self.gids)

    @property
    def ended_well(self) -> bool:
        """Whether its job came to its end: then its release did not hang it."""
        return self.finished and not self.failed

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


_VERSION = re.compile(r"NCCL version ([0-9][0-9.]*[0-9])|nccl==([0-9][0-9.]*[0-9])", re.ASCII)
_USING = re.compile(r"NET/IB\w* ?: Using (.*)$")
_DEVICE = re.compile(r"\[\d+\]\s*([A-Za-z0-9_.+-]+):\d+/", re.ASCII)
_OOB = re.compile(r"OOB ([^\s<]+)")
_BOOTSTRAP = re.compile(r"Bootstrap ?: Using ([^\s<]+)")
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

#: A device that NCCL made out of one or, with merged NICs, of several.
_VIRTUAL = re.compile(r"Made virtual device \[(\d{1,3})\] name=([A-Za-z0-9_.+-]{1,128}) ", re.ASCII)
_BUILD = re.compile(r"NCCL version [0-9.]+(\+\S+)|NCCL git version (\S+ \S+)", re.ASCII)
_FINISHED = re.compile(r"- Destroy COMPLETE|# Avg bus bandwidth\s*: [0-9.]*[1-9]", re.ASCII)

#: Plugins by their names that speak verbs: NCCL's own and those made from it, HPC-X's.
_RDMA_PLUGINS = re.compile(r"IB|NCCL RDMA Plugin\b", re.ASCII)


def network_kind(name: str) -> Network | None:
    """`IB` for the built-in transport and the plugins that speak verbs (`IBext_v10`, `NCCL RDMA
    Plugin v10`), `Socket`, None for one that is not known here."""
    if _RDMA_PLUGINS.match(name):
        return "IB"
    return "Socket" if name.startswith("Socket") else None


@dataclass
class _Notes:
    version: str | None = None
    build: str = ""
    devices: list[str] = field(default_factory=list)
    virtual: dict[int, str] = field(default_factory=dict)
    oob: str | None = None
    networks: list[str] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)
    channels: Counter[tuple[str, int]] = field(default_factory=Counter)
    gdr: bool = False
    events: list[Event] = field(default_factory=list)
    started: dict[str, bool] = field(default_factory=dict)
    retrying: Event | None = None
    env: dict[str, str] = field(default_factory=dict)
    rank: tuple[int, int] | None = None
    gids: list[GidUse] = field(default_factory=list)
    finished: bool = False


def gid_address(prefix: str, interface: str) -> str:
    """The address of a GID from its two halves as NCCL prints them: 64-bit numbers in the host's
    byte order, little-endian, in hexadecimal.

    >>> gid_address("0", "A64A8C0FFFF0000")
    '192.168.100.10'
    """
    raw = b"".join(int(half, 16).to_bytes(8, "little") for half in (prefix, interface))
    address = ipaddress.IPv6Address(raw)
    return str(address.ipv4_mapped or address)


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


def _note_event(notes: _Notes, event: Event) -> None:
    match event.kind.name:
        case "network":
            notes.networks.append(event.name)
        case "assigned":
            notes.plugins.append(event.name)
        case "channel":
            notes.channels[event.name, event.index or 0] += 1
        case "start":
            notes.started[event.name] = False
        case "complete":
            notes.started[event.name] = True
            notes.retrying = None
        case "connected":
            notes.started = dict.fromkeys(notes.started, True)
            notes.retrying = None
    if event.kind.outcome == "retry":
        notes.retrying = event
    if event.kind.outcome != "fact":
        notes.events.append(event)


def _note_rest(notes: _Notes, line: str) -> None:
    if found := _VERSION.search(line):
        notes.version = found[1] or notes.version or found[2]
    if found := _BUILD.search(line):
        notes.build = found[2] or notes.build or found[1]
    if found := _VIRTUAL.search(line):
        notes.virtual[int(found[1])] = found[2]
    notes.gdr = notes.gdr or bool(_GDR.search(line))
    notes.finished = notes.finished or bool(_FINISHED.search(line))
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


def _choice(notes: _Notes) -> str:
    """The last network that was chosen, by name; failing that the plugin, then the channels' if
    they agree."""
    for choices in (notes.networks, notes.plugins):
        if choices:
            return choices[-1]
    used = list(dict.fromkeys(name for name, _ in notes.channels))
    return used[0] if len(used) == 1 else ""


def _carriers(notes: _Notes) -> dict[str, int]:
    """The devices of the channels over RDMA, merged ones by their common name."""
    found: Counter[str] = Counter()
    for (name, index), count in notes.channels.items():
        if network_kind(name) == "IB":
            single = notes.devices[index] if index < len(notes.devices) else f"device {index}"
            found[notes.virtual.get(index, single)] += count
    return dict(found)


def _failed(events: list[Event]) -> str | None:
    """Of the events after which nothing goes on, the one that explains most."""
    first = gravest(events)
    return describe_event(first) if first else None


def _warnings(events: list[Event]) -> tuple[str, ...]:
    noted = [event for event in events if event.kind.outcome == "note"]
    return tuple(dict.fromkeys(describe_event(event) for event in noted))


def parse(text: str) -> NcclWitness:
    """What the log of one rank says. Lines of other programs are passed over."""
    notes = _Notes()
    for raw in text.split("\n"):
        line = log_lines.once(log_lines.clean(raw))
        _note_using(notes, line)
        if (event := read(line)) is not None:
            _note_event(notes, event)
        _note_rest(notes, line)
    choice = _choice(notes)
    kinds = [network_kind(name) for name in notes.networks]
    channels = Counter[Network | None]()
    for (name, _), count in notes.channels.items():
        channels[network_kind(name)] += count
    return NcclWitness(
        version=notes.version,
        devices=tuple(notes.devices),
        oob=notes.oob,
        network=network_kind(choice),
        channels_ib=channels["IB"],
        channels_socket=channels["Socket"],
        gdr=notes.gdr,
        failed=_failed(notes.events),
        env=notes.env,
        networks=tuple(kind for kind in kinds if kind),
        warnings=_warnings(notes.events),
        rank=notes.rank[0] if notes.rank else None,
        nranks=notes.rank[1] if notes.rank else None,
        gids=tuple(notes.gids),
        events=tuple(notes.events),
        plugin="" if network_kind(choice) else choice,
        carriers=_carriers(notes),
        unfinished=bool(notes.started) and not any(notes.started.values()),
        retrying=notes.retrying,
        build=notes.build,
        finished=notes.finished,
    )


def describe(witness: NcclWitness) -> str:
    """One line for a person: `network IB on rocep1s0f1, 4 channels over RDMA, 0 over TCP`."""
    if witness.failed:
        return f"failed: {witness.failed}"
    if witness.plugin:
        return f"network {witness.plugin}, a plugin whose transport is not known here"
    if witness.network is None:
        return "does not say which network it uses"
    on_rdma = witness.network == "IB" and witness.devices
    where = f" on {', '.join(witness.devices)}" if on_rdma else ""
    complaints = "".join(f"; {warning}" for warning in witness.warnings)
    return (
        f"network {witness.network}{where}, {witness.channels_ib} channels over RDMA, "
        f"{witness.channels_socket} over TCP{complaints}"
    )

"""What a line of NCCL's log tells of: one table for verify-rdma, launch, doctor and `explain FILE`.

The wordings are those of the sources of NCCL 2.19 to 2.30.7 and of the library 2.31.2; of 2.32 only
the line of a failed completion is known (with `qp_num=`). A line of the level INFO is never final:
NCCL says there what it tries again, and what failed calls lead to. Where a pasted line has lost its
level, its words decide.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from spark_cluster.rdma.verbs_names import FLUSHED, errno_of, verbs_names

#: cause: NCCL ended, and this is why. symptom: it ended, as also a peer's death makes it end.
#: consequence: another rank or line has the reason. retry: it tries again. note: it went on. fact:
#: nothing is wrong.
Outcome = Literal["cause", "symptom", "consequence", "retry", "note", "fact"]

#: Outcomes after which NCCL does nothing more in this process.
FINAL: frozenset[Outcome] = frozenset({"cause", "symptom", "consequence"})


@dataclass(frozen=True)
class Kind:
    """`text` is what a person reads first; `code` is the diagnosis; `remedy` is what to do."""

    name: str
    outcome: Outcome
    text: str = ""
    code: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Event:
    """What one line says, as far as it says it.

    call           of verbs: `ibv_modify_qp`
    device         `rocep1s0f1`, the port left out
    number         errno, or a completion's status; `said` is NCCL's own word for it
    local, remote  addresses of the two GIDs
    peer           address of the other end of the control connection
    name           of a network, of a plugin, or a communicator's pointer
    index          of the device that a channel uses
    """

    kind: Kind
    call: str = ""
    device: str = ""
    number: int | None = None
    said: str = ""
    local: str = ""
    remote: str = ""
    peer: str = ""
    name: str = ""
    index: int | None = None

    @property
    def final(self) -> bool:
        return self.kind.outcome in FINAL


_ACCESS = (
    "Check that the container has /dev/infiniband, IPC_LOCK and unlimited memlock, and that "
    "NCCL_IB_HCA names a device that is ACTIVE on this host."
)
_LOGS = "Read NCCL's lines in the logs of all ranks; NCCL_DEBUG=INFO gives more."
_PEER = (
    "See the other rank first: its container's log, its kernel's (`journalctl -k`), whether its "
    "host is up. If both are well: the rails' addresses and MTU on both ends, and PCIe errors "
    "(`spark-cluster doctor`)."
)

#: In order of how much they explain: of several the first is a log's reason.
KINDS: tuple[Kind, ...] = (
    Kind(
        "no-network",
        "cause",
        "no network could be initialised: with NCCL_NET=IB no usable RDMA device was found",
        "RDMA017",
        _ACCESS,
    ),
    Kind(
        "reg-mr",
        "cause",
        "memory could not be registered for RDMA",
        "RDMA032",
        "The container needs unlimited memlock and IPC_LOCK (`ulimit -l` in it says unlimited). If "
        "it has them, look at `grep Cma /proc/meminfo` on the host: CmaTotal 0 with a CmaFree "
        "above it is a kernel whose KHO took that memory. Boot with kho=off, or take kernel "
        "6.17.0-1031 with driver 580.173.02 (HOST024).",
    ),
    Kind(
        "modify-qp",
        "cause",
        "an RDMA connection could not be made",
        "RDMA030",
        "Both ends must be ports that one cable or one switch joins: compare the two addresses "
        "with the rails, and ping one from the other with jumbo frames. A pinned "
        "NCCL_IB_GID_INDEX is the next suspect.",
    ),
    Kind("verbs", "cause", "a verbs call failed", "RDMA017", _ACCESS),
    Kind(
        "device-fatal",
        "cause",
        "the RDMA device or a queue of it failed",
        "RDMA033",
        "Read the kernel's log of that host (`journalctl -k`) at that time: mlx5, PCIe AER, a "
        "cable's removal. Once the port is ACTIVE, measure it (`spark-cluster verify-rdma "
        "--probe`) before the engine is started again: one that came back may be slow (NET026).",
    ),
    Kind(
        "release-mismatch",
        "cause",
        "the ranks run releases of NCCL that do not fit",
        "RDMA035",
        "Run the same image on all hosts (`docker image inspect`), without a library of NCCL's "
        "from the host.",
    ),
    Kind(
        "no-interface",
        "cause",
        "NCCL found no interface for its control connections",
        "SERVE007",
        "NCCL_SOCKET_IFNAME must name an interface that is up on this host and has an address.",
    ),
    Kind(
        "cuda",
        "cause",
        "CUDA failed within NCCL",
        "SERVE007",
        "If it is memory: lower gpu_memory_utilization of the recipe. Otherwise read the kernel's "
        "log for NVRM and Xid.",
    ),
    Kind(
        "usage",
        "cause",
        "NCCL refused its settings (invalid usage): with NCCL_NET=IB it says so when it finds no "
        "usable RDMA device",
        "RDMA017",
        f"{_ACCESS} `launch --debug` has NCCL's own words.",
    ),
    Kind("completion", "symptom", "an RDMA transfer ended with", "RDMA031", _PEER),
    Kind("connect", "symptom", "no control connection could be made", "SERVE007", _PEER),
    Kind("error", "symptom", "NCCL ended with", "SERVE007", _LOGS),
    Kind("flushed", "consequence", "an RDMA transfer ended with", "RDMA031", _PEER),
    Kind("lost-peer", "consequence", "a rank is gone: it closed the connection", "RDMA016", _PEER),
    Kind(
        "remote",
        "consequence",
        "a rank is gone, or the network to it",
        "RDMA016",
        _PEER,
    ),
    Kind("retry", "retry", "a connection was tried again"),
    Kind("no-device", "note", "NET/IB found no device"),
    Kind("ib-failed", "note", "NET/IB could not be initialised"),
    Kind("gid-changed", "note", "the GID table changed while the job ran"),
    Kind("port-error", "note", "the port went down while the job ran"),
    Kind("port-active", "note", "the port came up while the job ran"),
    Kind("async", "note", "the RDMA device told of an event"),
    Kind("unused", "note", "a completion came for a request that is no longer in use"),
    Kind("soft-roce", "note", "has no PCI device: soft-RoCE"),
    Kind("no-plugin", "fact", "a network plugin was not found"),
    Kind("plugin", "fact", "a network plugin was loaded"),
    Kind("network", "fact", "the network of a communicator"),
    Kind("assigned", "fact", "the plugin of a communicator"),
    Kind("channel", "fact", "a channel to another host"),
    Kind("start", "fact", "a communicator starts"),
    Kind("complete", "fact", "a communicator is complete"),
    Kind("connected", "fact", "rings or trees are connected"),
)

_BY_NAME = {kind.name: kind for kind in KINDS}
ORDER = {kind.name: number for number, kind in enumerate(KINDS)}

#: The device and its port, as NCCL prints both.
_AT = r"(?P<device>[A-Za-z0-9_.+-]{1,64}):\d{1,3}"
_PEER_AT = r"(?P<peer>[0-9A-Fa-f.:]{2,45})(?:%\w+)?<"
_ERROR = r"failed(?: with error (?P<said>[^\n]{1,80}?)(?: errno (?P<number>\d{1,4}))?)?$"
_QP = (
    r"Call to (?P<call>ibv_modify_qp) failed(?: with (?P<number>-?\d{1,4}) (?P<said>[^,\n]{1,80})"
    rf", on dev {_AT}, .*?local GID (?P<local>[0-9A-Fa-f:.]+|N/A), "
    r"remote GID (?P<remote>[0-9A-Fa-f:.]+|N/A))?"
)
_GIDS = (
    r"(?:.*? localGid (?P<local>[0-9A-Fa-f:.]+) remoteGids ?(?P<remote>[0-9A-Fa-f:.]{2,45}))?"
    r"(?:.*? hca (?P<device>[A-Za-z0-9_.-]{1,64}))?"
)


def _form(kind: str, pattern: str) -> tuple[str, re.Pattern[str]]:
    return kind, re.compile(pattern, re.ASCII)


#: Wordings, of which the first that fits is meant: the level WARN, or none. INFO's come below.
_WARN = (
    _form("no-network", r"Failed to initialize any NET plugin|Error: network \S* ?not found"),
    _form("reg-mr", rf"Call to (?P<call>ibv_reg_(?:dmabuf_)?mr\w*) {_ERROR}"),
    _form("retry", rf"{_QP}.*?, retrying \d+/\d+ after"),
    # Until 2.23 with words and, from 2.19, the number; from 2.24 with device and GIDs.
    _form("modify-qp", rf"Call to (?P<call>ibv_modify_qp) {_ERROR}"),
    _form("modify-qp", _QP),
    # What NCCL does without: it goes on with a speed or a feature that it assumes.
    _form("async", r"Call to (?P<said>ibv_(?:query_port_speed|query_ece|set_ece) failed)"),
    _form("verbs", rf"Call to (?P<call>ibv_\w{{1,40}}) {_ERROR}"),
    _form("async", rf"NET/IB ?: {_AT} (?P<said>async fatal event on SRQ, unused)"),
    # 2.23 and later; on a CQ or a QP, from 2.30.7 with its numbers.
    _form("device-fatal", rf"NET/IB ?: {_AT} async fatal event\b.*?: (?P<said>[^:\n]{{1,80}})$"),
    # 2.19 without the device; to 2.22 `async event`, to 2.28.3 `async error event`; then with the
    # event's number.
    _form(
        "async",
        rf"NET/IB ?: (?:{_AT} )?Got (?:non-fatal )?async (?:error )?event ?: "
        r"(?P<said>[^(\n]{1,80}?)(?:\(\d+\))?$",
    ),
    _form("gid-changed", rf"GID table changed(?: on {_AT})?"),
    _form("release-mismatch", r"(?P<said>(?:Mismatched NCCL version|NCCL version mismatch)\b.*)"),
    _form(
        "no-interface",
        r"Bootstrap ?: no socket interface found|no device found matching (?P<said>\S+)",
    ),
    _form("cuda", r"NCCL WARN Cuda failure (?:\d+ )?'(?P<said>[^'\n]{1,120})"),
    # 2.19: `with error 12,`; 2.20 to 2.28.3, and GIN's own: `with status=12`; from 2.28.7 with its
    # name; 2.32 has `qp_num=` as well.
    _form(
        "completion",
        rf"Got completion from peer (?:{_PEER_AT})?.*?"
        r"\b(?:status[= ](?:\w+\()?|with error )(?P<number>\d{1,3})\b" + _GIDS,
    ),
    _form("lost-peer", rf"Connection closed by remote peer (?:{_PEER_AT})?"),
    _form(
        "connect",
        rf"(?:[Cc]onnect to|recv from|send to) {_PEER_AT}.*?"
        r"(?:failed ?: |returned (?:\d+\()?)(?P<said>[A-Za-z][^(),\n]{1,60}?)(?:\s*[(),]|$)",
    ),
    _form("error", r"Error encountered progressing (?P<said>operation=\w+, res=\d+)"),
    _form("error", r"communicator encountered (?P<said>a fatal error)"),
    _form("no-device", r"NET/IB\w* ?: No device found"),
    _form("ib-failed", r"Failed to initialize NET plugin IB"),
    # The same is said of the PCI bus of whatever NIC is none, such as an interface for sockets.
    _form("soft-roce", r"Could not find real path of (?P<device>\S+) \(/sys/class/infiniband/"),
)

#: In an exception or wherever else: NCCL's result by name, and its words, which vLLM raises.
_RESULT = (
    _form("usage", r"\b(?P<said>ncclInvalidUsage)\b|NCCL error: invalid usage"),
    _form("remote", r"\bncclRemoteError\b|NCCL error: remote process exited"),
    _form(
        "error",
        r"\b(?P<said>ncclSystemError|ncclInternalError|ncclUnhandledCudaError|ncclInvalidArgument"
        r"|ncclTimeout)\b",
    ),
    _form(
        "error",
        r"NCCL error: (?P<said>unhandled cuda error|unhandled system error|internal error"
        r"|invalid argument|timeout)",
    ),
)

_INFO = (
    _form("retry", rf"{_QP}.*?, retrying \d+/\d+ after"),
    _form("no-device", r"NET/IB\w* ?: No device found"),
    _form("ib-failed", r"Failed to initialize NET plugin IB"),
    _form("unused", r"completion for a CTS but retrieved an 'unused' request"),
    _form("plugin", r"NET/Plugin ?: Loaded net plugin (?P<name>.{1,80}?) \(v\d+\)"),
    _form("no-plugin", r"NET/Plugin ?: Could not find: ?(?P<name>\S+)"),
    _form("no-plugin", r"NET/Plugin ?: (?:dlerror=.* )?No plugin found \((?P<name>\S+)\)"),
    _form("network", r"Using network (?P<name>.{1,80}?)$"),
    _form("assigned", r"Assigned NET plugin (?P<name>.{1,80}?) to comm"),
    _form("channel", r"\bvia NET/(?P<name>[A-Za-z][^/\n]{0,79})/(?P<index>\d{1,3})"),
    _form("start", r"\bcomm (?P<name>0x[0-9a-f]{1,16}) rank .* ?- Init START"),
    _form("complete", r"\bcomm (?P<name>0x[0-9a-f]{1,16}) rank .* ?- Init COMPLETE"),
    _form("connected", r"Connected all (?:rings|trees)"),
)

_FORMS = {"WARN": (*_WARN, *_RESULT), "INFO": _INFO, "": (*_WARN, *_INFO, *_RESULT)}

_LEVEL = re.compile(r"\bNCCL (WARN|INFO|TRACE|VERSION) ", re.ASCII)

#: Without NCCL's level before it the line must begin with it: other programs use networks, too.
_BARE = re.compile(r"[>\s]*Using network ")

#: A cheap look before the forms: logs are long, and few lines are NCCL's.
_HINT = re.compile(
    r"NCCL|nccl|ibv_|NET/|NET plugin|async|GID table|network|Init |Connected all|Got completion"
    r"|remote peer|onnect to |socket interface|progressing operation|communicator encountered"
)


@lru_cache(maxsize=8192)
def read(line: str) -> Event | None:
    """What the line tells of; None if nothing. A launch reads the same lines again and again."""
    if not _HINT.search(line):
        return None
    found = _LEVEL.search(line)
    level = found[1] if found else ""
    forms = _FORMS.get(level, ())
    for name, pattern in forms:
        if match := pattern.search(line):
            if name == "network" and not level and not _BARE.match(line):
                continue
            return _event(name, match)
    return None


def _event(name: str, match: re.Match[str]) -> Event:
    found = {key: value for key, value in match.groupdict().items() if value is not None}
    said = found.get("said", "").strip()
    number = abs(int(found["number"])) if "number" in found else errno_of(said)
    if name == "completion" and number == FLUSHED:
        name = "flushed"
    elif name == "async":
        name = _event_kind(said)
    return Event(
        kind=_BY_NAME[name],
        call=found.get("call", ""),
        device=found.get("device", ""),
        number=number,
        said=said,
        local=address(found.get("local", "")),
        remote=address(found.get("remote", "")),
        peer=address(found.get("peer", "")),
        name=found.get("name", "").strip(),
        index=int(found["index"]) if "index" in found else None,
    )


def _event_kind(said: str) -> str:
    named = {"port error": "port-error", "port active": "port-active"}
    named["GID table change"] = "gid-changed"
    return "device-fatal" if said in verbs_names().fatal_events else named.get(said, "async")


def address(gid: str) -> str:
    """The address of a GID as people write it; empty if it is none.

    >>> address("::ffff:10.77.1.1")
    '10.77.1.1'
    """
    try:
        found = ipaddress.ip_address(gid)
    except ValueError:
        return ""
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


#: Kinds whose text says already what NCCL's word for them says.
_TOLD = ("port-error", "port-active", "gid-changed")


def describe(event: Event) -> str:
    """The event with all that its line knows: `an RDMA connection could not be made: ibv_modify_qp,
    error 110 (ETIMEDOUT, Connection timed out), on rocep1s0f0, from 10.0.0.1 to 10.0.0.2`."""
    kind = event.kind
    if kind.name in ("completion", "flushed"):
        return " ".join(part for part in (kind.text, _status(event), _where(event)) if part)
    if kind.name == "soft-roce":
        return f"{event.device} {kind.text}"
    if kind.name == "error":
        return f"{kind.text} {event.said}"
    if kind.name in ("lost-peer", "connect") and event.peer:
        text = {"lost-peer": f"the rank at {event.peer} is gone: it closed the connection"}
        return text.get(kind.name, f"{kind.text} to {event.peer}: {event.said}")
    if kind.name == "usage":
        return kind.text
    error = "" if kind.name in _TOLD else _error(event)
    details = [part for part in (event.call, error, _where(event), event.name) if part]
    return f"{kind.text}: {', '.join(details)}" if details else kind.text


def _status(event: Event) -> str:
    name, meaning = verbs_names().completions.get(event.number or 0, ("", ""))
    return f"status {event.number}" + (f" (IBV_WC_{name}, {meaning})" if name else "")


def _error(event: Event) -> str:
    name, words = verbs_names().errno.get(event.number or 0, ("", ""))
    if event.number is None:
        return event.said
    told = ", ".join(part for part in (name, event.said or words) if part)
    return f"error {event.number}" + (f" ({told})" if told else "")


def _where(event: Event) -> str:
    local, remote = event.local, event.remote or event.peer
    ways = f"from {local} to {remote}" if local and remote else remote and f"to {remote}"
    return " ".join(part for part in (event.device and f"on {event.device}", ways) if part)

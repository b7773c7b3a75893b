"""What a line of NCCL's log tells of: one table for verify-rdma, launch, doctor and `explain FILE`.

The events are in nccl_events.yaml, their wordings in nccl_wordings.yaml. A line of the level INFO
is never final: NCCL says there what it tries again, and what failed calls lead to. Where a pasted
line has lost its level, its words decide.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Literal

from spark_cluster.core.data_files import NO_OTHER_KEYS, DataTable, read_yaml
from spark_cluster.rdma.verbs_names import FLUSHED, errno_of, verbs_names

#: cause: NCCL ended, and this is why. symptom: it ended, as also a peer's death makes it end.
#: consequence: another rank or line has the reason. retry: it tries again. note: it went on. fact:
#: nothing is wrong.
Outcome = Literal["cause", "symptom", "consequence", "retry", "note", "fact"]

#: Outcomes after which NCCL does nothing more in this process.
FINAL: frozenset[Outcome] = frozenset({"cause", "symptom", "consequence"})


@dataclass(frozen=True)
class Kind:
    """`text` is what a person reads first; `code` is the diagnosis; `remedy` is what to do; of
    several the one of the lowest `order` explains most. The table is nccl_events.yaml."""

    __pydantic_config__ = NO_OTHER_KEYS
    outcome: Outcome
    name: str = ""
    text: str = ""
    code: str = ""
    remedy: str = ""
    order: int = 0


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


def _read() -> dict[str, Kind]:
    found = read_yaml(dict[str, Kind], "spark_cluster.rdma", "nccl_events.yaml")
    return {
        name: replace(kind, name=name, order=order)
        for order, (name, kind) in enumerate(found.items())
    }


_BY_NAME: Mapping[str, Kind] = DataTable(_read)

#: In order of how much they explain.
KINDS: Collection[Kind] = _BY_NAME.values()


def gravest(events: Iterable[Event]) -> Event | None:
    """Of the events after which nothing goes on the one that explains most; None without any."""
    final = (event for event in events if event.final)
    return min(final, key=lambda event: event.kind.order, default=None)


@dataclass(frozen=True)
class _Wordings:
    """The file: regular expressions by the event's name, or in a list the parts of one."""

    __pydantic_config__ = NO_OTHER_KEYS
    fragments: dict[str, str | list[str]]
    warn: list[dict[str, str | list[str]]]
    result: list[dict[str, str | list[str]]]
    info: list[dict[str, str | list[str]]]


_Forms = tuple[tuple[str, re.Pattern[str]], ...]


@cache
def _forms() -> Mapping[str, _Forms]:
    """By the line's level: the wordings, of which the first that fits is meant."""
    file = read_yaml(_Wordings, "spark_cluster.rdma", "nccl_wordings.yaml")
    fragments: dict[str, str] = {}

    def whole(pattern: str | list[str]) -> str:
        return re.sub("<<(\\w+)>>", lambda found: fragments[found[1]], "".join(pattern))

    for name, pattern in file.fragments.items():
        fragments[name] = whole(pattern)
    warn, result, info = (
        tuple(
            (kind, re.compile(whole(pattern), re.ASCII))
            for form in forms
            for kind, pattern in form.items()
        )
        for forms in (file.warn, file.result, file.info)
    )
    return {"WARN": (*warn, *result), "INFO": info, "": (*warn, *info, *result)}


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
    forms = _forms().get(level, ())
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

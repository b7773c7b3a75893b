"""What must hold after every fault: nothing lost, nothing left over, no lie in what was printed.

Each function compares what the hosts hold (sight.py) with what they should; it gives a list of
complaints, empty if all is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.lab.faults.driver import Event, Told
from tests.lab.faults.hosts import ADDRESSES, LINKS, RAILS
from tests.lab.faults.sight import Sight

HEAD, WORKER = "vllm-head", "vllm-worker"
_OURS = ("var/lib/spark-cluster/", "etc/systemd/system/spark-cluster-guard-",
         "etc/systemd/system/sysinit.target.wants/spark-cluster-guard-")  # fmt: skip
_ENGINE = ("containers", "ready", "canary")
_UNFINISHED = ".spark-cluster.new"

Sights = Mapping[str, Sight]


@dataclass(frozen=True)
class Known:
    """The hosts before our first change, and as bootstrap makes them."""

    fresh: Sights
    ready: Sights

    def ours(self, host: str) -> set[str]:
        """The files that bootstrap writes there."""
        before = self.fresh[host].disk
        return {path for path in self.ready[host].disk if path not in before}


def nothing_lost(known: Known, sights: Iterable[Sight], *, settled: bool) -> list[str]:
    """/etc/netplan is as before or as wanted, nobody else's file was touched. `settled`: no guard
    is armed any more, so that it is all of one or all of the other, and no file is half-made."""
    wrong = []
    for sight in sights:
        before, wanted = known.fresh[sight.host].netplan, known.ready[sight.host].netplan
        files = {n: t for n, t in sight.netplan.items() if not n.endswith(_UNFINISHED)}
        if settled and files not in (before, wanted):
            wrong.append(f"{sight.host}: /etc/netplan is a mixture: {', '.join(files)}")
        for name, text in files.items():
            if text not in (before.get(name), wanted.get(name)):
                wrong.append(
                    f"{sight.host}: /etc/netplan/{name} is neither as before nor as wanted"
                )
        said = _guard_says(sight)
        if settled and said and files != {"confirmed": wanted, "reverted": before}[said]:
            wrong.append(
                f"{sight.host}: the guard says {said}: /etc/netplan has {', '.join(files)}"
            )
        if settled and sight.armed:
            wrong.append(f"{sight.host}: a guard is still armed")
        wrong += _foreign(known, sight)
    return wrong


def _guard_says(sight: Sight) -> str:
    """How the last guard on the host ended, by its own mark; empty if there was none."""
    ends = ("/confirmed", "/reverted")
    marks = sorted(path for path in sight.disk if "/guard/" in path and path.endswith(ends))
    return marks[-1].rpartition("/")[2] if marks else ""


def _foreign(known: Known, sight: Sight) -> list[str]:
    before, ours = known.fresh[sight.host].disk, known.ours(sight.host)
    wrong = [
        f"{sight.host}: /{path} is {sight.disk.get(path, 'gone')}, it was {digest}"
        for path, digest in before.items()
        if sight.disk.get(path) != digest
    ]
    for path in sight.disk:
        known_path = path.removesuffix(_UNFINISHED)
        if known_path not in before and known_path not in ours and not path.startswith(_OURS):
            wrong.append(f"{sight.host}: /{path} was not there and is not ours")
    return wrong


def nothing_left(sights: Iterable[Sight]) -> list[str]:
    """After a teardown: no container, process, unit, note, shared memory; the swap is on again."""
    wrong = []
    for sight in sights:
        wrong += [f"{sight.host}: container {n} is {s}" for n, s in sight.containers.items()]
        for word in ("engine", "shm", "note", "unit"):
            wrong += [f"{sight.host}: {word} {rest}" for rest in sight.lines.get(word, [])]
        if not sight.first("swap"):
            wrong.append(f"{sight.host}: the swap that launch turned off is still off")
        wrong += [f"{sight.host}: /{p}" for p in sight.disk if p.endswith(_UNFINISHED)]
    return wrong


def lies(known: Known, told: Told, sights: Sights, hosts: Iterable[str]) -> list[str]:
    """What the run said of these hosts and is not so. Later results replace earlier ones.

    The ranks hang together: where one host is left out, nothing is said of the engine on others.
    """
    wrong = []
    hosts = set(hosts)
    about = [e for e in told.results if e["host"] in hosts]
    if told.verb == "launch" and hosts != set(sights):
        about = [e for e in about if e["step"] not in _ENGINE]
    last = {(e["host"], e["step"], _role(e, told)): e for e in about}
    for event in last.values():
        if event["status"] in ("ok", "changed"):
            untrue = _untrue(known, told.verb, event, sights)
            wrong += [f"{event['host']}: {event['step']} {event['status']}, but {untrue}"] * bool(
                untrue
            )
    guarded = {e["host"]: e["state"] for e in told.events if e["kind"] == "guarded"}
    for host, state in guarded.items():
        if host in hosts:
            wrong += _guard_lies(known, state, sights[host])
    return wrong


def _role(event: Event, told: Told) -> int:
    """Launch has the step `containers` twice: skipped on the hosts that it is not for."""
    return int(event["status"] == "skipped" and told.verb == "launch")


def _guard_lies(known: Known, state: str, sight: Sight) -> list[str]:
    before, wanted = known.fresh[sight.host].netplan, known.ready[sight.host].netplan
    if state == "confirmed" and (sight.netplan != wanted or sight.armed):
        return [f"{sight.host}: confirmed, but the files are others or the guard is armed"]
    if state in ("reverted", "rejected", "not armed") and sight.netplan not in (before, wanted):
        return [f"{sight.host}: {state}, but the files are not as before"]
    return []


def _untrue(known: Known, verb: str, event: Event, sights: Sights) -> str:
    """What is not as the step's result says; empty if all is."""
    sight = sights[event["host"]]
    ready = known.ready[sight.host].disk
    match event["step"]:
        case "netplan":
            addresses = {**ADDRESSES[sight.host], "enP7s7": LINKS[sight.host]}
            if sight.netplan != known.ready[sight.host].netplan:
                return f"/etc/netplan has {', '.join(sight.netplan)}"
            return f"addresses {sight.addresses}" * (sight.addresses != addresses)
        case "mtu":
            small = [i for i in RAILS if f"{i} 9000" not in sight.lines.get("mtu", [])]
            return f"{', '.join(small)} has another MTU" * bool(small)
        case "rdma-modules":
            path = "etc/modules-load.d/spark-cluster.conf"
            there = "cm" in sight.lines and sight.disk.get(path) == ready[path]
            return "rdma_cm or the file for the next boot is not there" * (not there)
        case "memlock":
            path = "etc/security/limits.d/90-spark-cluster.conf"
            return f"/{path} is {sight.disk.get(path, 'absent')}" * (
                sight.disk.get(path) != ready[path]
            )
        case "swap" if verb != "teardown":
            return f"swap {sight.first('swap')} is on" * bool(sight.first("swap"))
        case "launch-snapshot" if verb == "launch":
            return "there is no note" * ("note" not in sight.lines)
        case "launch-snapshot":
            left = [f"note {sight.first('note')}"] * ("note" in sight.lines)
            left += ["the swap is off"] * (not sight.first("swap"))
            return ", ".join(left)
        case "containers" if verb == "launch":
            name = HEAD if sight.host == next(iter(sights)) else WORKER
            return f"{name} is {sight.containers.get(name, 'absent')}" * (
                sight.containers.get(name) != "running"
            )
        case "containers" | "teardown-check":
            left = [*sight.containers, *sight.lines.get("engine", [])]
            return f"{', '.join(left)} is there" * bool(left)
        case "ready" | "canary":
            head = next(iter(sights.values()))
            return "its health page does not answer" * (not head.healthy)
        case _:
            return ""

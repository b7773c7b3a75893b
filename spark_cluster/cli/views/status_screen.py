"""`spark-cluster status --watch`: tables, read again and again, also while hosts die."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from spark_cluster.actions.status import HostStatus, StatusReport, VerdictStatus
from spark_cluster.cli.views import status as words
from spark_cluster.core.units import human_age, human_bytes
from spark_cluster.places import short
from spark_cluster.terminal.printing import Console, add_row, new_table, say_json, styled


def watch(reports: Iterator[StatusReport], where: Path, *, as_json: bool) -> int:
    """Until they end; on a pipe each refresh is printed below the last. The exit code of the last,
    0 without one."""
    console = Console()
    code = 0
    screen = Screen(where)
    full = console.is_terminal and not as_json
    with console.live(screen.render) if full else contextlib.nullcontext():
        for report in reports:
            screen.show(report)
            code = report.exit_code
            if as_json:
                say_json(report.as_dict())
            elif not full:
                console.draw(screen.render())
    return code


class Screen:
    """The newest refresh. It is drawn more often than it is read, so that one sees how old it is
    while a host keeps the reading waiting."""

    def __init__(self, inventory: Path) -> None:
        self.rows: Sequence[HostStatus] = ()
        self._inventory = inventory
        self._verdict: VerdictStatus | None = None
        self._read = 0.0

    def show(self, report: StatusReport) -> None:
        self.rows, self._verdict, self._read = report.hosts, report.verdict, time.monotonic()

    def render(self) -> RenderableType:
        where = short(self._inventory)
        if not self.rows:
            return styled(f"spark-cluster status, {where}: reading the hosts")
        age = human_age(time.monotonic() - self._read)
        clock = f"{datetime.now():%H:%M:%S}"
        parts: list[RenderableType] = [
            styled((f"spark-cluster status, {where}, {clock}, read {age} ago, Ctrl-C ends", "dim")),
            styled(),
            hosts(self.rows),
            styled(),
            containers(self.rows),
            styled(),
        ]
        parts += [styled(line) for line in _lines(self.rows)]
        if self._verdict is not None:
            parts.append(styled(words.verdict_text(self._verdict)))
        # Last: a screen that is too low cuts the end.
        return Group(*parts, styled(), rails(self.rows))


#: Columns that a narrow terminal never cuts: which host it is, and whether it is there.
_WHOLE = ("rank", "host", "state")


def _table(*titles: str) -> Table:
    return new_table(*titles, whole=_WHOLE, fold=True)


def hosts(rows: Sequence[HostStatus]) -> Table:
    shown = _table("host", "state", "up for", "load", "memory available", "swap", "GPU")
    for each in rows:
        if each["state"] == "unknown":
            add_row(shown, each["host"], ("unknown", "bold magenta"))
            continue
        uptime, load = each["uptime_seconds"], each["load"]
        available, total = each["memory_available"], each["memory_total"]
        add_row(
            shown,
            each["host"],
            ("up", "green"),
            human_age(uptime) if uptime is not None else "?",
            f"{load[0]:g}" if load else "?",
            f"{human_bytes(available)} of {human_bytes(total)}",
            human_bytes(each["swap_bytes"]) if each["swap"] else "off",
            words.gpu_text(each),
        )
    return shown


def rails(rows: Sequence[HostStatus]) -> Table:
    shown = _table("host", "rail", "device", "state", "speed", "out", "in", "errors")
    for each in rows:
        for rail in each.get("rails", ()):
            style = "" if rail["state"] == "ACTIVE" else "bold red"
            add_row(
                shown,
                each["host"],
                rail["interface"],
                rail["device"],
                (rail["state"], style),
                rail["rate"].partition(" (")[0] or "?",
                words.rate_text(rail, "tx"),
                words.rate_text(rail, "rx"),
                words.errors_text(rail),
            )
    return shown


def containers(rows: Sequence[HostStatus]) -> RenderableType:
    """By rank."""
    found = [(c["rank"].rjust(3), e["host"], c) for e in rows for c in e.get("containers", ())]
    if not found:
        return styled(_nothing(rows))
    shown = _table("rank", "host", "container", "recipe", "state")
    for rank, host, each in sorted(found, key=lambda entry: entry[:2]):
        style = "" if each["state"] == "running" else "bold red"
        add_row(shown, rank, host, each["name"], each["recipe"], (words.state(each), style))
    return shown


def _nothing(rows: Sequence[HostStatus]) -> str:
    """Where nothing of ours runs, and of which hosts nobody can say."""
    known = [e["host"] for e in rows if e["state"] != "unknown" and not e["docker_error"]]
    others = [e["host"] for e in rows if e["host"] not in known]
    said = [f"nothing of ours runs on {', '.join(known)}"] if known else []
    return "; ".join(said + ([f"what runs on {', '.join(others)} is unknown"] if others else []))


def _lines(rows: Sequence[HostStatus]) -> Iterator[str]:
    """Why a host is unknown and what to do next, the endpoints, what docker could not say, what
    comes back by itself, who holds the hosts."""
    nexts = words.next_steps(rows)
    for each in rows:
        if each["state"] == "unknown":
            named = each["reason"].startswith(each["host"])
            yield each["reason"] if named else f"{each['host']}: {each['reason']}"
            if each["host"] in nexts:
                yield f"  next: {nexts[each['host']]}"
            continue
        if each["docker_error"]:
            yield f"{each['host']}: docker: {each['docker_error']}"
        for container in each["containers"]:
            if container["state"] == "running" and container["rank"] == "0":
                yield f"{each['host']}: {words.health(container, each['healthy'])}"
        yield from (f"{each['host']}: {line}" for line in words.serving(each))

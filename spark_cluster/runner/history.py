"""The journal read again: which runs there were, and what each did."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from spark_cluster.core.error import InputError
from spark_cluster.runner import journal
from spark_cluster.steps.teardown_check import teardown_check

#: Journals of earlier releases have its earlier name.
_LAST_LOOK = (teardown_check.name, *teardown_check.formerly)


@dataclass(frozen=True)
class Past:
    """A run as its journal tells it. `exit_code` None: it never came to its end."""

    run: str
    verb: str
    started: datetime | None
    hosts: tuple[str, ...]
    recipe: str | None
    exit_code: int | None
    seconds: float | None
    counts: dict[str, int]
    entries: tuple[dict[str, Any], ...] = field(repr=False)
    path: Path

    @property
    def inventory(self) -> str:
        """The path of the inventory that it was given."""
        started = (entry for entry in self.entries if entry["kind"] == "run_started")
        return str(next(started, {}).get("inventory") or "")

    @property
    def outcome(self) -> str:
        """In a word or two."""
        if self.exit_code is None:
            return "broke off"
        return "done" if self.exit_code == 0 else f"exit {self.exit_code}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "verb": self.verb,
            "started": self.started.isoformat() if self.started else None,
            "hosts": list(self.hosts),
            "recipe": self.recipe,
            "exit_code": self.exit_code,
            "seconds": self.seconds,
            "counts": self.counts,
            "journal": str(self.path),
        }


def past_runs(folder: Path | None = None, tell: Callable[[str], None] | None = None) -> list[Past]:
    """Every run, the newest first; a file that cannot be read is left out, and `tell` hears why."""
    runs = []
    for path in (folder or journal.folder()).glob("*.jsonl"):
        try:
            runs.append(parse(path, path.read_text(encoding="utf-8", errors="replace")))
        except OSError as error:
            if tell is not None:
                tell(f"left out: {path}: {error.strerror}")
    # The name alone does not order two runs of one second.
    return sorted(runs, key=lambda past: (past.run[:15], _seconds(past), past.run), reverse=True)


def _seconds(past: Past) -> float:
    return past.started.timestamp() if past.started else 0.0


def past_run(
    name: str, folder: Path | None = None, tell: Callable[[str], None] | None = None
) -> Past:
    """One run by its name or the name's beginning; `last` is the newest. Raises InputError."""
    runs = past_runs(folder, tell)
    found = runs[:1] if name == "last" else [run for run in runs if run.run.startswith(name)]
    if len(found) == 1:
        return found[0]
    what = f"there is no run {name}" if not found else f"{len(found)} runs begin with {name}"
    raise InputError(what, remedy="`spark-cluster history` names them all.")


def unfinished(runs: Iterable[Past], inventory: str) -> dict[str, Past]:
    """Hosts that a teardown did not finish, and that nothing was launched on since; `runs` are the
    newest first."""
    seen: set[str] = set()
    left_open: dict[str, Past] = {}
    for past in runs:
        if past.inventory != inventory or past.exit_code == InputError.exit_code:
            continue
        if past.verb == "teardown":
            done = _finished(past)
            left_open |= {host: past for host in past.hosts if host not in seen | done}
            seen.update(past.hosts)
        elif past.verb == "launch":
            seen |= _steps(past, "changed")
    return left_open


def unfinished_elsewhere(runs: Sequence[Past], inventory: str) -> dict[str, list[str]]:
    """The same of all other inventories: the path of each that has such hosts, and the hosts."""
    others = dict.fromkeys(past.inventory for past in runs)
    found = {path: list(unfinished(runs, path)) for path in others if path not in ("", inventory)}
    return {path: hosts for path, hosts in found.items() if hosts}


def _finished(past: Past) -> set[str]:
    """The hosts on which a teardown's last look found nothing, and no step of it failed."""
    bad = _steps(past, "failed", "unreachable", "unknown")
    return _steps(past, "ok", names=_LAST_LOOK) - bad


def _steps(past: Past, *statuses: str, names: Collection[str] = ()) -> set[str]:
    """The hosts with a step (of these names, if any) that ended so."""
    return {
        str(entry.get("host"))
        for entry in past.entries
        if entry["kind"] == "step_finished"
        and entry.get("status") in statuses
        and (not names or entry.get("step") in names)
    }


def parse(path: Path, text: str) -> Past:
    """The run of one journal file; lines that are torn or foreign are left out."""
    entries = tuple(_entries(text))
    first: dict[str, Any] = next((e for e in entries if e["kind"] == "run_started"), {})
    last: dict[str, Any] = next((e for e in reversed(entries) if e["kind"] == "run_finished"), {})
    parts = path.stem.split("-")
    return Past(
        run=str(first.get("run") or "-".join(parts[:3])),
        verb=str(first.get("verb") or " ".join(parts[3:])),
        started=time_of(entries[0]) if entries else None,
        hosts=tuple(first.get("hosts") or ()),
        recipe=first.get("recipe"),
        exit_code=last.get("exit_code", _error_code(entries)),
        seconds=last.get("seconds"),
        counts=dict(last.get("counts") or {}),
        entries=entries,
        path=path,
    )


def _entries(text: str) -> Iterator[dict[str, Any]]:
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and isinstance(entry.get("kind"), str):
            yield entry


def _error_code(entries: tuple[dict[str, Any], ...]) -> int | None:
    """A run that ended by an error wrote that instead of its end."""
    for entry in reversed(entries):
        if entry["kind"] == "run_failed":
            code = (entry.get("error") or {}).get("exit_code")
            return code if isinstance(code, int) else 1
    return None


def time_of(entry: dict[str, Any]) -> datetime | None:
    """When an entry was written; None if it does not say."""
    try:
        return datetime.fromisoformat(str(entry.get("time")))
    except ValueError:
        return None


def story(past: Past) -> Iterator[tuple[str, str, str, str]]:
    """What the run did, a line each: time, host, word, text. Steps that were in order are left
    out."""
    for entry in past.entries:
        when = time_of(entry)
        line = _line(entry)
        if line is not None:
            host, word, text = line
            yield (when.astimezone().strftime("%H:%M:%S") if when else ""), host, word, text


def _line(entry: dict[str, Any]) -> tuple[str, str, str] | None:
    host = str(entry.get("host") or "")
    match entry["kind"]:
        case "guarded":
            return host, "guard", f"{entry.get('state')}: {entry.get('message')}"
        case "step_finished" if entry.get("status") not in ("ok", "skipped"):
            details = entry.get("details") or [entry.get("summary") or ""]
            return host, str(entry["status"]), f"{entry.get('step')}: {'; '.join(details)}"
        case "host_lost":
            return host, "lost", _message(entry)
        case "note":
            return host, "note", str(entry.get("message"))
        case "run_failed":
            where = str((entry.get("error") or {}).get("host") or "")
            return where, "error", _message(entry)
        case "run_finished":
            counts = entry.get("counts") or {}
            words = ", ".join(f"{count} {status}" for status, count in counts.items())
            return "", "end", f"exit {entry.get('exit_code')}; {words or 'no steps'}"
        case _:
            return None


def _message(entry: dict[str, Any]) -> str:
    return str((entry.get("error") or {}).get("message", ""))

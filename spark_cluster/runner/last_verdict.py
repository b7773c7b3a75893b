"""The last RDMA verdict that this controller's journal knows of an inventory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spark_cluster.runner import history, journal

#: The verbs that end with a verdict.
VERBS = ("verify-rdma", "launch")


@dataclass(frozen=True)
class LastVerdict:
    """`when` it was judged; `recipe` and `run` are of the launch that it judged."""

    kind: str
    code: str | None
    reason: str
    when: datetime
    verb: str
    recipe: str
    run: str

    def age(self, now: datetime | None = None) -> float:
        """Seconds since."""
        return max(0.0, ((now or datetime.now(UTC)) - self.when).total_seconds())


def last_verdict(inventory: Path, folder: Path | None = None) -> LastVerdict | None:
    """The newest verdict on this inventory; None if there is none, or none that can be read."""
    for path in _newest_first(folder or journal.folder()):
        with contextlib.suppress(OSError):
            past = history.parse(path, path.read_text(encoding="utf-8", errors="replace"))
            for entry in reversed(past.entries):
                found = _read(entry, str(inventory), past.verb)
                if found is not None:
                    return found
    return None


def _newest_first(folder: Path) -> Iterator[Path]:
    """A run's name begins with its time."""
    paths = [path for verb in VERBS for path in folder.glob(f"*-{verb}.jsonl")]
    yield from sorted(paths, reverse=True)


def _read(entry: dict[str, Any], inventory: str, verb: str) -> LastVerdict | None:
    data = entry.get("data")
    if entry["kind"] != "run_finished" or not isinstance(data, dict):
        return None
    verdict, served = data.get("verdict"), data.get("served")
    if not isinstance(verdict, dict) or not isinstance(served, dict):
        return None
    when = history.time_of(entry)
    if served.get("inventory") != inventory or when is None:
        return None
    reasons = verdict.get("reasons")
    return LastVerdict(
        kind=str(verdict.get("kind")),
        code=verdict.get("code"),
        reason=str(reasons[0]) if isinstance(reasons, list) and reasons else "",
        when=when,
        verb=verb,
        recipe=str(served.get("recipe")),
        run=str(served.get("run")),
    )

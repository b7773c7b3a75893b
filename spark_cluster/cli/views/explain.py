"""What logs tell of a failure."""

from __future__ import annotations

from collections.abc import Sequence

from spark_cluster.serving.post_mortem import PostMortem


def lines(found: PostMortem) -> list[str]:
    """The first rank that failed, what followed, and where each log stands."""
    told = []
    if (first := found.first) is not None:
        how = "failed first" if first.grade == "cause" else "tells first of a failure"
        how = "stands still" if found.verdict == "standing" else how
        told += [f"{first.who} {how}: {first.reason}"]
        if first.line:
            told += [
                f"  {first.name}, line {first.number} of its last start:",
                f"    | {first.line}",
            ]
        told += [f"  what to do: {first.remedy}", f"  more: spark-cluster explain {first.code}"]
        if found.verdict == "standing":
            told += ["  (if nothing has followed for some minutes)"]
        elif found.followed and not first.timed:
            told += ["  (by what explains most: not all logs have times)"]
    else:
        told += ["no failure in these logs, as far as they go"]
    told += _part("what followed:", found.followed)
    told += _part("the logs:", found.states)
    return told + _part("notes:", found.notes)


def _part(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}" for line in lines)] if lines else []

"""`spark-cluster explain FILE…`: which rank failed first, why, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_cluster.serving.post_mortem import PostMortem


def explain_logs(names: Sequence[str], *, inventory: str | None, as_json: bool) -> int:
    """Read, judge, print. Exit 0 if the logs are healthy as far as they go, 4 if a fault is named;
    InputError for files that cannot be read or hold nothing that is known."""
    from spark_cluster.actions.from_log import known_owners, text_of
    from spark_cluster.cli.terminal import say, say_json
    from spark_cluster.core.error import InputError
    from spark_cluster.serving.post_mortem import read

    texts = {name: text_of(name) for name in dict.fromkeys(names)}
    found = read(texts, known_owners(inventory))
    if found.verdict == "unreadable":
        raise InputError(
            "holds no line of an engine's or of NCCL's that is known here",
            place=", ".join(texts),
            remedy="Give what `docker logs NAME` prints of each rank's container, all of it: "
            "`docker logs NAME > FILE 2>&1`. `spark-cluster explain` without a file lists the "
            "codes.",
        )
    if as_json:
        say_json(found.as_dict())
    else:
        for line in _lines(found):
            say(line)
    return 0 if found.verdict == "healthy" else 4


def _lines(found: PostMortem) -> list[str]:
    lines = []
    if (first := found.first) is not None:
        how = "failed first" if first.grade == "cause" else "tells first of a failure"
        how = "stands still" if found.verdict == "standing" else how
        lines += [f"{first.who} {how}: {first.reason}"]
        if first.line:
            lines += [
                f"  {first.name}, line {first.number} of its last start:",
                f"    | {first.line}",
            ]
        lines += [f"  what to do: {first.remedy}", f"  more: spark-cluster explain {first.code}"]
        if found.verdict == "standing":
            lines += ["  (if nothing has followed for some minutes)"]
        elif found.followed and not first.timed:
            lines += ["  (by what explains most: not all logs have times)"]
    else:
        lines += ["no failure in these logs, as far as they go"]
    lines += _part("what followed:", found.followed)
    lines += _part("the logs:", found.states)
    return lines + _part("notes:", found.notes)


def _part(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}" for line in lines)] if lines else []

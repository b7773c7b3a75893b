"""What `explain` tells: of codes, and of logs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from spark_cluster.actions.explain import Code, Codes
from spark_cluster.actions.verify.logs import Explained


def codes(found: Codes) -> Iterator[str]:
    """A line a code."""
    yield from (f"{each.code:<10} {each.title}" for each in found.diagnoses)


def code(found: Code) -> Iterator[str]:
    """Why it matters, and what to do."""
    yield f"{found.code}: {found.title}"
    yield ""
    for title, text in (("Why it matters", found.why), ("What to do", found.fix)):
        yield title
        # A command that is broken at its hyphens cannot be copied.
        lines = textwrap.wrap(text, 76, break_on_hyphens=False, break_long_words=False)
        yield from (f"  {line}" for line in lines)
        yield ""


def lines(explained: Explained) -> Iterator[str]:
    """The first rank that failed, what followed, and where each log stands."""
    found = explained.found
    if (first := found.first) is not None:
        how = "failed first" if first.grade == "cause" else "tells first of a failure"
        how = "stands still" if found.verdict == "standing" else how
        yield f"{first.who} {how}: {first.reason}"
        if first.line:
            yield f"  {first.name}, line {first.number} of its last start:"
            yield f"    | {first.line}"
        yield f"  what to do: {first.remedy}"
        yield f"  more: spark-cluster explain {first.code}"
        if found.verdict == "standing":
            yield "  (if nothing has followed for some minutes)"
        elif found.followed and not first.timed:
            yield "  (by what explains most: not all logs have times)"
    else:
        yield "no failure in these logs, as far as they go"
    yield from _part("what followed:", found.followed)
    yield from _part("the logs:", found.states)
    yield from _part("notes:", found.notes)


def _part(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}" for line in lines)] if lines else []

"""The form that most fragments print: a line a reading, its kind first."""

from __future__ import annotations

from spark_cluster.core.units import number


class Lines:
    """An output's lines by their kind, which is what stands before the first separator. A line
    without one is a kind alone."""

    def __init__(self, text: str, separator: str = " ") -> None:
        self._rests: dict[str, list[str]] = {}
        for line in text.split("\n"):
            kind, _, rest = line.partition(separator)
            self._rests.setdefault(kind.strip(), []).append(rest)

    def __contains__(self, kind: str) -> bool:
        return kind in self._rests

    def every(self, kind: str) -> list[str]:
        """What the lines of this kind say, as it is."""
        return self._rests.get(kind, [])

    def first(self, kind: str) -> str:
        """What the first line of this kind says; empty if there is none."""
        return self.every(kind)[0].strip() if kind in self else ""

    def last(self, kind: str) -> str:
        """What the last line of this kind says: the one that wins where files are read in order."""
        return self.every(kind)[-1].strip() if kind in self else ""

    def words(self, kind: str, count: int) -> list[list[str]]:
        """The words of each line of this kind that has as many; the last takes the rest."""
        rows = (rest.split(None, count - 1) for rest in self.every(kind))
        return [[word.strip() for word in row] for row in rows if len(row) == count]

    def numbers(self, kind: str) -> list[int]:
        """Those of the lines of this kind that are a number."""
        return [found for rest in self.every(kind) if (found := number(rest)) is not None]

    def number(self, kind: str) -> int | None:
        """The number on the last line of this kind; None if it is none."""
        return number(self.last(kind))

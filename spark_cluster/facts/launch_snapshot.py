"""What a host was like before our launch: a note that launch leaves there and teardown reads."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.shell import quote
from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact

#: In memory: after a reboot the host is as it was anyway, and the note is gone with the rest.
NOTE = "/run/spark-cluster/before"


@dataclass(frozen=True)
class LaunchSnapshotFact:
    """`run` is the launch that wrote the note, empty if there is none. `memory` was available, in
    bytes; `hugepages` were in use; `swaps` were on; `shm` are the names in /dev/shm; `segments`
    and `semaphores` are ids of System V."""

    run: str = ""
    memory: int = 0
    hugepages: int = 0
    swaps: tuple[str, ...] = ()
    shm: frozenset[str] = frozenset()
    segments: frozenset[int] = frozenset()
    semaphores: frozenset[int] = frozenset()

    def text(self) -> str:
        """The note, as `parse` reads it."""
        lines = [f"run {self.run}", f"memory {self.memory}", f"hugepages {self.hugepages}"]
        lines += [f"swap {name}" for name in self.swaps]
        lines += [f"shm {name}" for name in sorted(self.shm)]
        lines += [f"segment {each}" for each in sorted(self.segments)]
        lines += [f"semaphores {each}" for each in sorted(self.semaphores)]
        return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> LaunchSnapshotFact:
    """The note; lines that are torn or foreign are left out."""
    values: dict[str, list[str]] = {}
    for line in text.split("\n"):
        kind, _, rest = line.partition(" ")
        if rest:
            values.setdefault(kind, []).append(rest)

    def numbers(kind: str) -> list[int]:
        return [found for each in values.get(kind, ()) if (found := number(each)) is not None]

    return LaunchSnapshotFact(
        run=values.get("run", [""])[0],
        memory=sum(numbers("memory")[:1]),
        hugepages=sum(numbers("hugepages")[:1]),
        swaps=tuple(values.get("swap", ())),
        shm=frozenset(values.get("shm", ())),
        segments=frozenset(numbers("segment")),
        semaphores=frozenset(numbers("semaphores")),
    )


LAUNCH_SNAPSHOT = Fact("launch-snapshot", lambda _: f"cat {quote(NOTE)} 2>/dev/null || true", parse)

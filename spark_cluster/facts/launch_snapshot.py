"""What a host was like before our launch: a note that launch leaves there and teardown reads."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.shell import quote
from spark_cluster.facts.base import Fact, always
from spark_cluster.facts.lines import Lines

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
    lines = Lines(text)
    return LaunchSnapshotFact(
        run=lines.first("run"),
        memory=sum(lines.numbers("memory")[:1]),
        hugepages=sum(lines.numbers("hugepages")[:1]),
        swaps=tuple(filter(None, lines.every("swap"))),
        shm=frozenset(filter(None, lines.every("shm"))),
        segments=frozenset(lines.numbers("segment")),
        semaphores=frozenset(lines.numbers("semaphores")),
    )


LAUNCH_SNAPSHOT = Fact("launch-snapshot", always(f"cat {quote(NOTE)} 2>/dev/null || true"), parse)

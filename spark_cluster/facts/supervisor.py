"""What `launch --restart-at-boot` leaves on a host: a systemd unit that keeps its rank running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spark_cluster.facts.base import Fact, always
from spark_cluster.facts.lines import Lines

NAME = "spark-cluster-rank.service"
UNIT = f"/etc/systemd/system/{NAME}"
SCRIPT = "/usr/local/lib/spark-cluster/rank"

#: In memory: which start of all ranks the container here belongs to, and what is waited for. Open
#: to all, for the other ranks read it (workload/supervisor.sh).
FOLDER = "/run/spark-cluster-rank"

#: Names the launch whose ranks shall not be started again after all, though its containers' labels
#: say so: labels cannot be changed. Of use only as long as these containers are there.
DECLINED = "/var/lib/spark-cluster/no-restart-at-boot"

#: What the supervisor says when there is nothing to say.
RUNS = "runs"

#: What it needs on the host beside docker.
PROGRAMS = ("systemctl", "python3", "curl", "setpriv")


@dataclass(frozen=True)
class SupervisorFact:
    """`recipe`, `rank` and `launch` (the run that began it) are empty if none is installed. `sums`
    are the SHA-256 of its files by path. `enabled`: it starts at boot; `active`: it runs now.
    `says` is `runs`, or what it waits for; `missing` are programs it could not do without.
    `declined` is the launch for which somebody turned it off, empty if nobody did."""

    recipe: str = ""
    rank: str = ""
    launch: str = ""
    sums: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = False
    active: bool = False
    says: str = ""
    missing: tuple[str, ...] = ()
    declined: str = ""

    @property
    def present(self) -> bool:
        """Whether anything of it is left: a file, or a process whose files are gone."""
        return bool(self.sums) or self.enabled or self.active


_SCRIPT = f"""\
for _p in {" ".join(PROGRAMS)}; do command -v $_p >/dev/null || echo "missing $_p"; done
sha256sum {UNIT} {SCRIPT} 2>/dev/null | sed 's/^/sum /'
sed -n 's/^\\(RECIPE\\|RANK\\|LAUNCH\\)=/\\1 /p' {SCRIPT} 2>/dev/null
timeout -k 2 10 systemctl show -p UnitFileState -p ActiveState {NAME} 2>/dev/null
sed -n '1s/^/says /p' {FOLDER}/says 2>/dev/null
sed -n '1s/^/declined /p' {DECLINED} 2>/dev/null
true
"""

#: States of a unit that has a process.
_ACTIVE = ("active", "activating", "deactivating", "reloading")


def parse(text: str) -> SupervisorFact:
    lines, said = Lines(text), text.split("\n")
    sums = (rest.partition("  ") for rest in lines.every("sum"))
    return SupervisorFact(
        recipe=lines.last("RECIPE"),
        rank=lines.last("RANK"),
        launch=lines.last("LAUNCH"),
        sums={path: digest for digest, _, path in sums if path},
        enabled="UnitFileState=enabled" in said,
        active=any(f"ActiveState={state}" in said for state in _ACTIVE),
        says=lines.last("says"),
        missing=tuple(lines.every("missing")),
        declined=lines.last("declined"),
    )


SUPERVISOR = Fact("supervisor", always(_SCRIPT), parse)

"""What `launch --restart-at-boot` leaves on a host: a systemd unit that keeps its rank running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spark_cluster.facts.base import Fact, ProbeContext

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


def _script(_: ProbeContext) -> str:
    return f"""\
for _p in {" ".join(PROGRAMS)}; do command -v $_p >/dev/null || echo "missing $_p"; done
sha256sum {UNIT} {SCRIPT} 2>/dev/null | sed 's/^/sum /'
sed -n 's/^\\(RECIPE\\|RANK\\|LAUNCH\\)=/\\1 /p' {SCRIPT} 2>/dev/null
timeout -k 2 10 systemctl show -p UnitFileState -p ActiveState {NAME} 2>/dev/null
sed -n '1s/^/says /p' {FOLDER}/says 2>/dev/null
sed -n '1s/^/declined /p' {DECLINED} 2>/dev/null
true
"""


def parse(text: str) -> SupervisorFact:
    values: dict[str, str] = {}
    sums: dict[str, str] = {}
    missing: list[str] = []
    for line in text.split("\n"):
        kind, _, rest = line.partition(" ")
        digest, _, path = rest.partition("  ")
        if kind == "sum" and path:
            sums[path] = digest
        elif kind == "missing":
            missing.append(rest)
        elif kind in ("RECIPE", "RANK", "LAUNCH", "says", "declined"):
            values[kind] = rest.strip()
    return SupervisorFact(
        recipe=values.get("RECIPE", ""),
        rank=values.get("RANK", ""),
        launch=values.get("LAUNCH", ""),
        sums=sums,
        enabled="UnitFileState=enabled" in text.split("\n"),
        active=any(
            f"ActiveState={state}" in text.split("\n")
            for state in ("active", "activating", "deactivating", "reloading")
        ),
        says=values.get("says", ""),
        missing=tuple(missing),
        declined=values.get("declined", ""),
    )


SUPERVISOR = Fact("supervisor", _script, parse)

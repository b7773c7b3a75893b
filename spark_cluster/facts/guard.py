"""What the network guard keeps on the host: the netplan files of before each change."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.framing import MARK, READ, blocks
from spark_cluster.facts.base import Fact, ProbeContext

#: Where the guard keeps a folder for each run.
FOLDER = "/var/lib/spark-cluster/guard"

_MARK = f"{READ}snapshot"
_NOW = "."


@dataclass(frozen=True)
class Snapshot:
    """The netplan files of before a run. `state` is how its change ended: `confirmed`, `reverted`
    or `undone`; `armed` while the dead-man waits or works; `open` if nothing says how it ended.
    `files` is name → SHA-256."""

    run: str
    state: str
    files: dict[str, str]


@dataclass(frozen=True)
class GuardFact:
    """`snapshots` are ordered, the oldest first; `files` are those of /etc/netplan now."""

    snapshots: tuple[Snapshot, ...] = ()
    files: dict[str, str] = field(default_factory=dict)


def _script(_: ProbeContext) -> str:
    sums = "find . -type f -exec sha256sum {} +"
    return f"""\
echo "{MARK}snapshot {_NOW} now"
(cd /etc/netplan && {sums})
for _d in {FOLDER}/*/; do
  [ -d "$_d/before" ] || continue
  _s=open
  for _f in confirmed reverted undone; do [ ! -e "$_d/$_f" ] || _s=$_f; done
  _n=$(basename "$_d")
  if [ $_s = open ] && {{ systemctl is-active -q "spark-cluster-guard-$_n.timer" ||
      pgrep -f "$_n/[r]evert.sh" >/dev/null; }}; then
    _s=armed
  fi
  echo "{MARK}snapshot $_n $_s"
  (cd "$_d/before" && {sums})
done
true
"""


def parse(text: str) -> GuardFact:
    now: dict[str, str] = {}
    snapshots: list[Snapshot] = []
    for header, sums in blocks(text, _MARK):
        run, _, state = header.partition(" ")
        named = (line.partition("  ./") for line in sums.split("\n"))
        files = {name: digest for digest, _, name in named if name}
        if run == _NOW:
            now = files
        else:
            snapshots.append(Snapshot(run, state.strip(), files))
    return GuardFact(tuple(sorted(snapshots, key=lambda each: each.run)), now)


GUARD = Fact("guard", _script, parse)

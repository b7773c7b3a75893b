"""What the hosts hold, read without the program under test: from the disk and from inside."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from spark_cluster.lab.topology import ETHERNET
from tests.lab.faults.hosts import RAILS, Host

#: Whole folders of the disk that the system writes as it runs, and none of ours.
_CHURN = ("var", "run", "tmp", "root/.cache")

#: Prints the lines of a Sight; as root on the host.
LOOK = f"""\
for i in {" ".join(RAILS)} {ETHERNET}; do
  ip -4 -o addr show dev $i | awk -v i=$i '{{print "address", i, $4}}'
  echo "mtu $i $(cat /sys/class/net/$i/mtu)"
done
awk 'NR > 1 {{print "swap", $1}}' /proc/swaps
[ ! -e /dev/infiniband/rdma_cm ] || echo cm
[ ! -e /run/spark-cluster/before ] || sed -n 's/^run /note /p' /run/spark-cluster/before
flock -n /run/spark-cluster.lock true && echo free
systemctl list-units --plain --no-legend 'spark-cluster*' | awk '{{print "unit", $1}}'
ls /dev/shm | sed 's/^/shm /'
for p in /proc/[0-9]*; do
  case $(tr '\\0' ' ' < $p/cmdline 2>/dev/null) in
  "sh -c "*) ;;  # this very script
  *"vllm serve"*|*"ray start"*|VLLM*|*raylet*|*gcs_server*) echo "engine ${{p#/proc/}}" ;;
  "sh -s"*|"bash -s"*|"sudo "*|"cat "|*revert.sh*) echo "shell ${{p#/proc/}}" ;;
  esac
done
timeout 5 docker ps -a --filter label=spark-cluster.recipe \
  --format 'container {{{{.Names}}}} {{{{.State}}}}' || echo "docker silent"
curl -s -o /dev/null -m 2 -w 'health %{{http_code}}\\n' http://127.0.0.1:8000/health
true
"""


@dataclass
class Sight:
    """A host at one moment. `disk` is path → digest of every file that differs from the image;
    `netplan` the files of /etc/netplan by name."""

    host: str
    netplan: dict[str, bytes]
    disk: dict[str, str]
    armed: bool
    lines: dict[str, list[str]] = field(default_factory=dict)

    def read(self, text: str) -> None:
        """Take in what LOOK printed."""
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            self.lines.setdefault(word, []).append(rest)

    def first(self, word: str) -> str:
        return (self.lines.get(word) or [""])[0]

    @property
    def containers(self) -> dict[str, str]:
        return dict(line.split() for line in self.lines.get("container", []))

    @property
    def addresses(self) -> dict[str, str]:
        return dict(line.split() for line in self.lines.get("address", []))

    @property
    def mtus(self) -> set[str]:
        return {line.split()[1] for line in self.lines.get("mtu", [])}

    @property
    def healthy(self) -> bool:
        return self.first("health") == "200"


def look(host: Host) -> Sight:
    """Read one host; a host that is off shows its disk only."""
    folder = host.root / "etc/netplan"
    sight = Sight(
        host.name,
        {path.name: path.read_bytes() for path in sorted(folder.iterdir())},
        written(host),
        bool(list((host.root / "etc/systemd/system").glob("spark-cluster-guard-*"))),
    )
    sight.read(host.on(LOOK) if host.is_on else "")
    return sight


def written(host: Host) -> dict[str, str]:
    """Every file that differs from the image's, but where the system itself always writes."""
    found = {}
    for folder, below, files in os.walk(host.disk):
        inside = Path(folder).relative_to(host.disk)
        below[:] = [name for name in below if str(inside / name) not in _CHURN]
        for name in files if inside.name != "__pycache__" else []:
            found[str(inside / name)] = _digest(Path(folder) / name)
    ours = host.root / "var/lib/spark-cluster"
    for path in ours.rglob("*") if ours.is_dir() else []:
        if path.is_file():
            found[str(path.relative_to(host.root))] = _digest(path)
    # Copied up and the same as ever: not a change.
    return {path: digest for path, digest in found.items() if digest != _digest(host.image / path)}


def _digest(path: Path) -> str:
    if not os.path.lexists(path):
        return "absent"
    mode = path.lstat().st_mode
    if stat.S_ISCHR(mode):
        return "removed"  # overlayfs marks it so
    if stat.S_ISLNK(mode):
        return f"-> {path.readlink()}"
    return f"{stat.S_IMODE(mode):o} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"

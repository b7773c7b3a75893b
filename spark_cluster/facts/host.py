"""Who the host is, and whether it has the programs that the steps use."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.facts.base import Fact, always

PROGRAMS = (
    "ip", "netplan", "ping", "rdma", "sysctl", "modprobe", "swapoff", "systemd-run", "docker",
    "nvidia-smi", "ss", "curl", "flock", "timeout",
)  # fmt: skip


@dataclass(frozen=True)
class HostFact:
    """`management` is the interface that this SSH connection came in on, empty if unknown."""

    values: dict[str, str]
    missing: tuple[str, ...]

    def __getattr__(self, name: str) -> str:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.values.get(name, "")


_SCRIPT = f"""\
echo "hostname=$(uname -n)"
echo "kernel=$(uname -r)"
echo "arch=$(uname -m)"
echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"
echo "uptime=$(cut -d' ' -f1 /proc/uptime)"
echo "user=$SPARK_USER"
echo "home=$SPARK_HOME"
echo "os=$(. /etc/os-release; echo "$PRETTY_NAME")"
_local=$(echo "${{SSH_CONNECTION:-}}" | cut -d' ' -f3)
[ -z "$_local" ] || echo "management=$(ip -o addr show | grep -F " $_local/" | cut -d' ' -f2)"
for _p in {" ".join(PROGRAMS)}; do command -v $_p >/dev/null || echo "missing=$_p"; done
"""


def parse(text: str) -> HostFact:
    pairs = [line.partition("=")[::2] for line in text.split("\n") if "=" in line]
    values = {key: value for key, value in pairs if key != "missing"}
    return HostFact(values, tuple(value for key, value in pairs if key == "missing"))


HOST = Fact("host", always(_SCRIPT), parse)

"""RDMA devices, their GIDs, and what user space needs to open them."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.framing import MARK, READ
from spark_cluster.core.shell import ASK_DOCKER
from spark_cluster.engines.ours import OURS
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.docker import log_of_this_start
from spark_cluster.rdma import counters, gids, nccl_log

LIMITS_FILE = "/etc/security/limits.d/90-spark-cluster.conf"
MODULES_FILE = "/etc/modules-load.d/spark-cluster.conf"


#: Every RDMA device and interface that a DGX Spark has, both halves of both QSFP ports, 10GbE and
#: Wi-Fi: traffic on the wrong one must show, too.
SPARK_DEVICES = ("rocep1s0f0", "roceP2p1s0f0", "rocep1s0f1", "roceP2p1s0f1")
SPARK_NETDEVS = (
    "enp1s0f0np0", "enP2p1s0f0np0", "enp1s0f1np1", "enP2p1s0f1np1", "enP7s7", "wlP9s9",
)  # fmt: skip


def _devices(context: ProbeContext) -> list[str]:
    return [rail.device for rail in context.host.rails]


def _counters_script(context: ProbeContext) -> str:
    devices = dict.fromkeys((*_devices(context), *SPARK_DEVICES))
    names = (item.interface for item in context.host.interfaces)
    return counters.probe_script(list(devices), list(dict.fromkeys((*names, *SPARK_NETDEVS))))


GIDS = Fact("gids", lambda context: gids.probe_script(_devices(context)), gids.parse)

COUNTERS = Fact("counters", _counters_script, counters.parse)


def _nccl_script(_: ProbeContext) -> str:
    # Lines that Ray forwards from other hosts carry `ip=`: they are those hosts' own witnesses. A
    # worker's own lines are in its container's log, or only in the files of Ray's session,
    # whose name is its time: those of earlier starts are still there. What NCCL says of each
    # collective, where it is told to, would push out what it said of its start.
    log = log_of_this_start('"$_id"', seconds=30)
    own = "grep -F NCCL | grep -vF -e ' ip=' -e ' -> Algo ' -e ': opCount ' | tail -n 400"
    return f"""\
{OURS}for _id in $(_ours); do
  _said=$({log} | {own})
  if [ -z "$_said" ]; then
    _pid=$({ASK_DOCKER} inspect --format '{{{{.State.Pid}}}}' "$_id")
    _session=$(ls -d /proc/"$_pid"/root/tmp/ray/session_2* 2>/dev/null | tail -n 1)
    _said=$(cat "$_session"/logs/worker-*.out 2>/dev/null | {own})
  fi
  printf '%s\n' "$_said"
done
true
"""


NCCL = Fact("nccl", _nccl_script, nccl_log.parse)


@dataclass(frozen=True)
class AccessFact:
    """`cm` is /dev/infiniband/rdma_cm; the two files are what they hold, empty if absent; `states`
    is each device's port state: ACTIVE, DOWN, INIT."""

    cm: bool = False
    modules_file: str = ""
    limits_file: str = ""
    states: dict[str, str] = field(default_factory=dict)


def _access_script(_: ProbeContext) -> str:
    return f"""\
[ -e /dev/infiniband/rdma_cm ] && echo cm || echo no-cm
grep -sH . /sys/class/infiniband/*/ports/1/state
echo "{MARK} {MODULES_FILE}"; cat {MODULES_FILE} 2>/dev/null; echo
echo "{MARK} {LIMITS_FILE}"; cat {LIMITS_FILE} 2>/dev/null
true
"""


def parse_access(text: str) -> AccessFact:
    head, _, rest = text.partition(f"\n{READ} {MODULES_FILE}")
    modules, _, limits = rest.partition(f"\n{READ} {LIMITS_FILE}")
    cm, *states = head.split("\n")
    return AccessFact(
        cm=cm.strip() == "cm",
        modules_file=modules.strip("\n") + "\n" if modules.strip() else "",
        limits_file=limits.strip("\n") + "\n" if limits.strip() else "",
        states=dict(state for line in states if (state := _state(line))),
    )


def _state(line: str) -> tuple[str, str] | None:
    """`/sys/class/infiniband/rocep1s0f1/ports/1/state:4: ACTIVE` -> its device and ACTIVE."""
    path, _, value = line.partition(":")
    parts = path.split("/")
    if len(parts) < 5 or parts[3] != "infiniband":
        return None
    return parts[4], value.rpartition(":")[2].strip()


ACCESS = Fact("access", _access_script, parse_access)

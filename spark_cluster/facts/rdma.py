"""RDMA devices, their GIDs, and what user space needs to open them."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.framing import MARK, READ, blocks
from spark_cluster.core.ours import OURS
from spark_cluster.core.shell import ASK_DOCKER
from spark_cluster.facts.base import Fact, ProbeContext, always
from spark_cluster.facts.docker import log_of_this_start
from spark_cluster.facts.ended import BEGINS
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


#: Of each rank: NCCL says some 200 at its start.
_LINES = 400

#: What NCCL says of each collective, where it is told to, would push out what it said of its start.
_OWN = f"grep -aF NCCL | grep -avF -e ' -> Algo ' -e ': opCount ' | tail -n {_LINES}"

#: Defines `_ranks_files`: the files of Ray's `$_session`, in the container whose root is `$_root`,
#: that hold the lines of this server's ranks. Each server is a job of its own in Ray, and a session
#: has the files of all of them: of workers that did something else, and of earlier servers' ranks.
#: Those whose process lives are the ones; where none does, those of the newest job. A job's number
#: is written with its lowest byte first, in a file's name and, where the worker was started before
#: its job, in a line; the head also has the files of the drivers, so that a server whose ranks have
#: said nothing yet is known, too.
_RANKS_FILES = """\
_ranks_files() {
  _swap='s/^:job_id:\\(..\\)\\(..\\)\\(..\\)\\(..\\)$/\\4\\3\\2\\1/p'
  _job=$({
    grep -ahoE -m 1 '^:job_id:[0-9a-f]{8}$' "$_session"/logs/worker-*.out
    ls "$_session"/logs | sed -nE -e 's/^python-core-driver-([0-9a-f]{8}).*/:job_id:\\1/p' \\
      -e 's/^worker-[0-9a-f]+-([0-9a-f]{8})-[0-9]+\\.out$/:job_id:\\1/p'
  } 2>/dev/null | grep -v ffffffff | sed -n "$_swap" | sort | tail -n 1)
  _job=$(echo ":job_id:$_job" | sed -n "$_swap")
  _living='' _newest=''
  for _f in $(grep -alF NCCL "$_session"/logs/worker-*.out 2>/dev/null); do
    _p=${_f##*-}
    case $(tr '\\0' ' ' 2>/dev/null <"$_root/proc/${_p%.out}/cmdline") in
      ray::* | *default_worker.py*) _living="$_living $_f" ;;
    esac
    case $_f in *-"$_job"-*) ;; *) grep -aqx ":job_id:$_job" "$_f" || continue ;; esac
    _newest="$_newest $_f"
  done
  echo ${_living:-$_newest}
}
"""


def _nccl_script(_: ProbeContext) -> str:
    # Ray copies its workers' lines into the log of the server, shortened and without repetitions,
    # so that log is read only where Ray has no files. In it, lines of other hosts carry `ip=`:
    # they are those hosts' own witnesses.
    log = log_of_this_start('"$_id"', seconds=30)
    start = f"""\
awk '
/{BEGINS}/ {{ n = 0 }}
/NCCL/ && !/ ip=/ && !/ -> Algo / && !/: opCount / {{ line[n++ % {_LINES}] = $0 }}
END {{ for (i = n > {_LINES} ? n - {_LINES} : 0; i < n; i++) print line[i % {_LINES}] }}'"""
    return f"""\
{OURS}{_RANKS_FILES}for _id in $(_ours); do
  _root=/proc/$({ASK_DOCKER} inspect --format '{{{{.State.Pid}}}}' "$_id" 2>/dev/null)/root
  _session=$(ls -d "$_root"/tmp/ray/session_2* 2>/dev/null | tail -n 1)
  _said=
  [ -z "$_session" ] || for _f in $(_ranks_files); do
    _said="$_said$(cat "$_f" | {_OWN})
"
  done
  [ -n "$_said" ] || _said=$({log} | {start})
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


_ACCESS_SCRIPT = f"""\
[ -e /dev/infiniband/rdma_cm ] && echo cm || echo no-cm
grep -sH . /sys/class/infiniband/*/ports/1/state
echo "{MARK} {MODULES_FILE}"; cat {MODULES_FILE} 2>/dev/null; echo
echo "{MARK} {LIMITS_FILE}"; cat {LIMITS_FILE} 2>/dev/null
true
"""


def parse_access(text: str) -> AccessFact:
    cm, *states = text.partition(f"\n{READ} ")[0].split("\n")
    files = {path: said.strip("\n") for path, said in blocks(text, READ) if said.strip()}
    return AccessFact(
        cm=cm.strip() == "cm",
        modules_file=f"{files[MODULES_FILE]}\n" if MODULES_FILE in files else "",
        limits_file=f"{files[LIMITS_FILE]}\n" if LIMITS_FILE in files else "",
        states=dict(state for line in states if (state := _state(line))),
    )


def _state(line: str) -> tuple[str, str] | None:
    """`/sys/class/infiniband/rocep1s0f1/ports/1/state:4: ACTIVE` -> its device and ACTIVE."""
    path, _, value = line.partition(":")
    parts = path.split("/")
    if len(parts) < 5 or parts[3] != "infiniband":
        return None
    return parts[4], value.rpartition(":")[2].strip()


ACCESS = Fact("access", always(_ACCESS_SCRIPT), parse_access)

"""What is collected on a host: a file's name, the shell that prints it, its time limit."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.labels import LABEL
from spark_cluster.core.ours import LABELS, NO_PORT, OURS, WHOSE
from spark_cluster.core.shell import quote
from spark_cluster.facts.base import ProbeContext
from spark_cluster.facts.connectx import CONNECTX
from spark_cluster.facts.docker_records import HEADS, LOGS, PROCESSES, RECORDS
from spark_cluster.facts.guard import FOLDER as GUARD_FOLDER
from spark_cluster.facts.kernel_log import KERNEL_LOG
from spark_cluster.facts.limits import LIMITS
from spark_cluster.facts.login import LOGIN
from spark_cluster.facts.rdma import COUNTERS, GIDS, NCCL

#: Seconds between the two readings of the RDMA counters.
COUNTER_GAP = 5

#: What a call of docker may take on a host under load, and an item that makes one or two.
DOCKER_SECONDS = 20
_DOCKER_ITEM = 30

#: What gdb may take on one process, which stands meanwhile: with torch's libraries it needs 13 to
#: 20 on a busy host. A gdb that heeds TERM while it attaches leaves the process stopped; one that
#: is killed does not, but for a stop that is on its way: the process is told to go on.
GDB_SECONDS = 30
_STACKS_ITEM = 45

#: What only a process with a CUDA context has open: a rank, and not what merely watches the GPU.
_CUDA = "/dev/nvidia-uvm"

#: Lines of a log, the newest, when nobody said since when; and otherwise.
_LINES, _LINES_SINCE = 20_000, 50_000

#: Of each container; Ray starts an idle worker for every core, and they tell nothing.
_PROCESSES = 12

#: What every item begins with: docker with a time limit of its own, so that one container that
#: hangs does not take the others' share; `ours` are our containers; `show` says what it ran.
LIBRARY = f"""\
docker() {{ timeout -k 1 {DOCKER_SECONDS} docker "$@"; }}
{WHOSE}ours() {{
  _listed=$(docker ps --all --quiet --no-trunc --filter label={LABEL}.recipe) || return
  for _each in $_listed; do
    _whose "$_each"
    [ $_is != ours ] || docker inspect --format '{{{{.Name}}}}' "$_each" | tr -cd 'A-Za-z0-9_.\n-'
  done
}}
show() {{ echo "\\$ $*"; "$@" 2>&1; echo; }}
"""


@dataclass(frozen=True)
class Item:
    """`shell` prints the file `path`; it may write more files below "$OUT", `others` (a pattern of
    the shell's), each of at most four times "$LIMIT" bytes. `seconds` is its limit. What has more
    than that, or more than `lines`, is cut to its newest part, and the index says so: the shell
    prints one byte or line more."""

    path: str
    shell: str
    seconds: int = 15
    lines: int = 0
    others: str = ""


def items(context: ProbeContext, since: str = "") -> tuple[Item, ...]:
    """Everything that is collected on the context's host. `since` is docker's: `1h`, or a time."""
    return (
        *_docker(since),
        *_engine(context),
        *_kernel(since),
        *_rdma(context),
        *_network(context),
        *_machine(context),
    )


def _docker(since: str) -> tuple[Item, ...]:
    limit = f"--since {quote(since)}" if since else f"--tail {_LINES + 1}"
    lines = _LINES_SINCE if since else _LINES
    return (
        Item("docker/ps.txt", "show docker ps --all --no-trunc --size", _DOCKER_ITEM),
        Item("docker/info.txt", "show docker info\nshow docker version", _DOCKER_ITEM),
        Item("docker/images.txt", "show docker images --digests --no-trunc", _DOCKER_ITEM),
        Item("docker/inspect.json", "docker inspect $(ours)", _DOCKER_ITEM),
        Item("docker/records.txt", RECORDS),
        Item("docker/top.txt", 'for c in $(ours); do show docker top "$c"; done', _DOCKER_ITEM),
        Item("docker/stats.txt", "show docker stats --no-stream", _DOCKER_ITEM),
        Item(
            "docker/logs.txt",
            f"""\
if _names=$(ours); then
  for c in $_names; do
    echo "$c: docker/logs-$c.txt"
    docker logs --timestamps {limit} "$c" 2>&1 | tail -n {lines + 1} |
      tail -c "$((4 * LIMIT + 1))" >"$OUT/docker/logs-$c.txt"
  done
  exit
fi
echo "docker does not answer: the ends of its own files"
{{
{LOGS}}} | while read -r c f; do
  echo "$c: docker/logs-$c.txt, of $f"
  tail -c "$((4 * LIMIT + 1))" "$f" >"$OUT/docker/logs-$c.txt"
done
""",
            seconds=40,
            lines=lines,
            others="docker/logs-*.txt",
        ),
    )


def _engine(context: ProbeContext) -> tuple[Item, ...]:
    # Of docker's records first: they answer when docker does not.
    ports = f"""\
{OURS}{LABELS}_all=$({HEADS})
[ -n "$_all" ] || _all=$(for _id in $(_ours --filter label={LABEL}.role=head); do
  docker inspect --format '{{{{json .Config.Labels}}}}' "$_id"
done)
printf '%s\\n' "$_all" | while IFS= read -r _labels; do
  [ "$(_label role)" = head ] || continue
  p=$(_label port)
  case $p in {NO_PORT}) continue ;; esac
  for path in health metrics v1/models api/ps; do
    show curl -sS --noproxy '*' -m 5 -i "http://127.0.0.1:$p/$path" </dev/null
  done
done
"""
    stacks = f"""\
_until=$(($(date +%s) + {_STACKS_ITEM - 5}))
_gdb() {{
  _left=$((_until - $(date +%s)))
  [ $_left -le {GDB_SECONDS} ] || _left={GDB_SECONDS}
  [ $_left -gt 0 ] || return
  _was=$(sed -n 's/^State:[^a-zA-Z]*//p' "/proc/$1/status")
  timeout -s KILL $_left gdb -p "$1" -batch -nx -ex 'thread apply all bt 20' \
    >"$OUT/engine/stacks-$1.txt" 2>&1
  case $_was in [Tt]*) ;; *) kill -CONT "$1" ;; esac
}}
_on_gpu() {{ ls -l "/proc/$1/fd" 2>/dev/null | grep -q {_CUDA}; }}
_ranks_first() {{
  while read -r _p; do _on_gpu "$_p" && echo "0 $_p" || echo "1 $_p"; done |
    sort -k1,1n -k2,2n | cut -d' ' -f2 | head -n {_PROCESSES}
}}
_all=$({PROCESSES})
[ -n "$_all" ] || _all=$(for c in $(ours); do docker top "$c" -o pid | sed "1d; s/^ */$c:/"; done)
for c in $(printf '%s\\n' "$_all" | cut -d: -f1 | uniq); do
  for p in $(printf '%s\\n' "$_all" | sed -n "s/^$c://p" | _ranks_first); do
    echo "== $c, process $p: $(tr '\\0' ' ' <"/proc/$p/cmdline" | head -c 300)"
    grep -E '^(Name|State|VmRSS|Threads):' "/proc/$p/status"
    echo "waits in: $(cat "/proc/$p/wchan")"
    cat "/proc/$p/stack"
    if command -v py-spy >/dev/null; then timeout -k 1 8 py-spy dump --nonblocking --pid "$p"
    elif command -v gdb >/dev/null && _on_gpu "$p"; then
      echo "its threads: engine/stacks-$p.txt"
      _gdb "$p" &
    fi
  done
done 2>&1
wait
"""
    return (
        Item("engine/endpoint.txt", ports, seconds=30),
        Item("engine/nccl.txt", NCCL.script(context), seconds=30),
        Item("engine/stacks.txt", stacks, _STACKS_ITEM),
    )


def _kernel(since: str) -> tuple[Item, ...]:
    # A duration counts back from now; journalctl wants a minus before it.
    form = f" --since {quote(since if since[:4].isdigit() else '-' + since)}" if since else ""
    journals = (
        ("this-boot", f"-b 0{form}", _LINES),
        ("last-boot", "-b -1", 5000),
        ("spark-cluster", "-t spark-cluster", 2000),
    )
    journal = "journalctl --no-pager -o short-iso-precise"
    return (
        Item("kernel/dmesg.txt", f"dmesg --time-format iso | tail -n {_LINES + 1}", lines=_LINES),
        *(
            Item(f"kernel/journal-{name}.txt", f"{journal} {which} -n {lines + 1}", 30, lines)
            for name, which, lines in journals
        ),
        Item(
            "kernel/boots.txt",
            "show uptime\nshow journalctl --no-pager --list-boots\nshow last -x -n 20\n"
            "show systemctl --no-pager --failed\nshow systemctl --no-pager list-timers",
        ),
        Item(
            "kernel/pstore.txt",
            "for d in /sys/fs/pstore /var/lib/systemd/pstore /var/crash; do show ls -lR $d; done\n"
            "find /sys/fs/pstore /var/lib/systemd/pstore -type f 2>/dev/null | head -n 20 |\n"
            '  while read -r f; do show head -c 200000 "$f"; done',
        ),
    )


def _rdma(context: ProbeContext) -> tuple[Item, ...]:
    counters = COUNTERS.script(context)
    return (
        Item(
            "rdma/counters-1.txt",
            f'{counters}sleep {COUNTER_GAP}\n{{ {counters} }} >"$OUT/rdma/counters-2.txt"',
        ),
        Item(
            "rdma/devices.txt",
            "show rdma link show\nshow rdma resource show\nshow rdma statistic show\n"
            "show ibv_devinfo -v\nshow lsmod\nshow ls -l /dev/infiniband",
        ),
        Item("rdma/gids.txt", GIDS.script(context)),
        Item(
            "rdma/connectx.txt",
            f"{CONNECTX.script(context)}show ls -l /etc/nvidia\n{KERNEL_LOG.script(context)}"
            "for d in /sys/class/infiniband/*/device; do\n"
            '  grep -sH . "$d"/aer_dev_* "$d"/current_link_* "$d"/max_link_* "$d"/power/control\n'
            "done\ntrue",
        ),
    )


def _network(context: ProbeContext) -> tuple[Item, ...]:
    names = " ".join(quote(item.interface) for item in context.host.interfaces)
    return (
        Item(
            "network/ip.txt",
            "show ip -d -s addr show\nshow ip route show table all\nshow ip rule\n"
            "show ip -s neigh show\nshow ss -tunap\nshow nmcli device status\nshow networkctl",
        ),
        Item(
            "network/ethtool.txt",
            f"for i in {names or 'lo'}; do\n"
            "  show ethtool $i; show ethtool -i $i; show ethtool -a $i; show ethtool -S $i\ndone",
        ),
        Item(
            "network/netplan.txt",
            "for f in /etc/netplan/*.yaml /run/netplan/*.yaml /lib/netplan/*.yaml; do\n"
            '  [ ! -f "$f" ] || show cat "$f"\ndone\nshow netplan get\nshow netplan status --all\n'
            f"show ls -lR {GUARD_FOLDER}",
        ),
        Item("network/firewall.txt", "show iptables-save\nshow nft list ruleset\nshow sysctl net"),
    )


def _machine(context: ProbeContext) -> tuple[Item, ...]:
    return (
        Item("gpu/nvidia-smi.txt", "nvidia-smi; nvidia-smi -q; nvidia-smi topo -m", 20),
        Item(
            "memory.txt",
            "show cat /proc/meminfo\nshow cat /proc/swaps\nshow cat /proc/buddyinfo\n"
            "for f in /proc/pressure/*; do show cat $f; done\nshow cat /proc/vmstat\n"
            "ps -eo pid,user,rss,vsz,stat,etime,wchan:24,args --sort=-rss | head -n 60",
        ),
        Item(
            "limits.txt",
            f"{LIMITS.script(context)}{LOGIN.script(context)}show sysctl vm\n"
            "show cat /proc/self/limits\n"
            "for p in $(pidof dockerd containerd); do show cat /proc/$p/limits; done\n"
            "show loginctl --no-pager list-users\nshow cat /proc/cmdline\n"
            "show cat /etc/nvidia-container-runtime/config.toml",
        ),
        Item("disk.txt", "show df -hT\nshow df -i\nshow lsblk\nshow cat /proc/mounts"),
        Item(
            "versions.txt",
            "show uname -a\nshow cat /etc/os-release\nshow cat /etc/dgx-release\n"
            "for f in /sys/class/infiniband/*/fw_ver; do show cat $f; done\n"
            "show cat /proc/driver/nvidia/version\nshow netplan --version\n"
            "dpkg -l | grep -Ei 'nvidia|mlnx|mellanox|rdma|ibverbs|docker|containerd|nccl|netplan'",
        ),
        Item("hardware.txt", "show lspci -nn\nshow lscpu\nshow dmidecode -t system -t memory"),
    )

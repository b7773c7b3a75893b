"""ib_write_bw of perftest: the scripts that run it, and what its output says. Pure.

Both sides are held open by the controller's connection and end with it, or after their time. With
`-R` they meet through rdma_cm, whose ports `ss` does not show: `rdma resource show cm_id` does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from spark_cluster.core.framing import MARK, READ, blocks
from spark_cluster.core.shell import held_folder, quote
from spark_cluster.core.units import number as digits

PROGRAM = "ib_write_bw"

#: Queue pairs and message size in bytes, as the Spark's own bandwidth test is usually run.
QUEUE_PAIRS = 4
MESSAGE_BYTES = 65536

#: Seconds that all servers of a measurement may take until they listen.
LISTEN_SECONDS = 40
#: Seconds that the two sides may take to meet, beyond the time of measuring.
MEET_SECONDS = 30
#: The first port to try; perftest's own default. Others follow if it is taken.
FIRST_PORT = 18515
#: How many ports are tried.
PORTS = 200

#: What it says instead of a result, as seen on virtual hosts that share busy cores, and gone when
#: asked again. That its samples of the clock do not agree then is our belief.
NO_CLOCK = "Can't produce a report"

_MARK = f"{READ}spark-cluster-test"


@dataclass(frozen=True)
class Measured:
    """One row of perftest's table: Gb/s (10^9 bits)."""

    gbits: float


@dataclass(frozen=True)
class Output:
    """What one side printed: a measurement, or the lines that say why there is none."""

    measured: Measured | None = None
    reasons: tuple[str, ...] = ()


# Reading

_UNIT = re.compile(r"BW average\[([A-Za-z]+)/sec\]")
#: To Gb/s. perftest before 4.5 says MB/sec and means MiB (2^20 bytes), as newer ones say.
_GIGABITS = {"Gb": 1.0, "MB": 2**20 * 8 / 1e9, "MiB": 2**20 * 8 / 1e9}
_ROW = re.compile(r"\s*\d+\s+\d+\s+([\d.]+|-?nan|inf)\s+([\d.]+|-?nan|inf)")
_FAULT = re.compile(
    r"couldn't|unable to|fail|not found|no ib devices|error|can't|cannot|incompatib|unsupported|"
    r"not support|mismatch|is down|refused|denied|timed out|command not found",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"^\W*(warning|conflicting cpu frequency)|correctable")


def parse(text: str) -> Output:
    """The output of one ib_write_bw, whole or broken off, of any version."""
    unit, row = None, None
    for line in text.split("\n"):
        found = _UNIT.search(line)
        if found:
            unit = found[1]
            continue
        if unit in _GIGABITS and (columns := _ROW.match(line)):
            row = columns
    if row is not None and unit is not None and _number(row[2]):
        return Output(Measured(float(row[2]) * _GIGABITS[unit]))
    return Output(reasons=_reasons(text))


def _number(text: str) -> bool:
    """Whether it is a finite amount above nothing; a run without one completion prints 0 or nan."""
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def _reasons(text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    faults = [line for line in lines if _FAULT.search(line) and not _HARMLESS.match(line.lower())]
    if any("Failed status" in line for line in faults):
        faults = [_status(line) or line for line in faults if "Failed to complete" not in line]
    return tuple(dict.fromkeys(faults))[:4]


#: enum ibv_wc_status (libibverbs, verbs.h): those that a link or a peer can cause.
_STATUSES = {
    4: "local protection error",
    5: "flushed: the queue pair failed before",
    9: "the peer found the request invalid",
    10: "the peer refused the access",
    12: "no answer from the peer after all retries",
    13: "the peer was not ready after all retries",
}


def _status(line: str) -> str | None:
    found = re.search(r"Failed status (\d+)", line)
    if found is None:
        return None
    meaning = _STATUSES.get(int(found[1]))
    return f"Failed status {found[1]}: {meaning}" if meaning else None


# Running


@dataclass(frozen=True)
class Lane:
    """One half in one measurement: the device of either side, and the server's address on it."""

    rail: str
    server_device: str
    client_device: str
    address: str


_PREAMBLE = f"""\
ulimit -l unlimited 2>/dev/null
_line=; command -v stdbuf >/dev/null && _line='stdbuf -oL'
{held_folder("spark-cluster-bandwidth")}"""


def _command(device: str, seconds: int, port: str) -> str:
    return (
        f"{PROGRAM} -R --report_gbits -d {device} -q {QUEUE_PAIRS} -s {MESSAGE_BYTES} "
        f"-D {seconds} -p {port}"
    )


def server_script(lanes: Sequence[Lane], seconds: int) -> str:
    """To hold: starts a server per lane and prints one line when all listen, then waits.

    The line is `ready DIR PORT PORT …`, or `failed` and why. The servers end when standard input
    ends, on a signal, or after their time, whichever is first. DIR holds what they printed.
    """
    limit = LISTEN_SECONDS + MEET_SECONDS + seconds + 15
    starts = "\n".join(
        f"_start {number} {quote(lane.server_device)}" for number, lane in enumerate(lanes)
    )
    return f"""\
{_PREAMBLE}\
_listens() {{
  rdma resource show cm_id 2>/dev/null | grep -Eq "LISTEN.*:$1( |\\$)" && return 0
  ss -Hltn "sport = :$1" 2>/dev/null | grep -q .
}}
_fail() {{ echo "failed $*"; exit 71; }}
_port={FIRST_PORT - 1}
_ports=
_deadline=$(($(date +%s) + {LISTEN_SECONDS}))
_start() {{
  _port=$((_port + 1))
  while _listens $_port; do
    _port=$((_port + 1))
    [ $_port -lt {FIRST_PORT + PORTS} ] || _fail "no free port from {FIRST_PORT} on"
  done
  timeout -k 3 {limit} $_line {_command('"$2"', seconds, "$_port")} \\
    > "$_dir/$1" 2>&1 < /dev/null &
  _pid=$!; _pids="$_pids $_pid"; _ports="$_ports $_port"
  until _listens $_port; do
    kill -0 $_pid 2>/dev/null || _fail $(tr '\\n' ' ' < "$_dir/$1" | tail -c 600)
    [ "$(date +%s)" -lt $_deadline ] || _fail "does not listen within {LISTEN_SECONDS} s"
    sleep 0.1
  done
}}
{starts}
echo "ready $_dir$_ports"
cat > /dev/null
"""


def client_script(lanes: Sequence[Lane], ports: Sequence[int], seconds: int) -> str:
    """To hold: starts a client per lane, all at once, and prints `ready DIR PID PID …`.

    The clients end as the servers do.
    """
    limit = MEET_SECONDS + seconds
    starts = "".join(
        f"timeout -k 3 {limit} $_line {_command(quote(lane.client_device), seconds, str(port))} "
        f'{quote(lane.address)} > "$_dir/{number}" 2>&1 < /dev/null &\n_pids="$_pids $!"\n'
        for number, (lane, port) in enumerate(zip(lanes, ports, strict=True))
    )
    return f'{_PREAMBLE}{starts}echo "ready $_dir$_pids"\ncat > /dev/null\n'


def result_script(folder: str, pids: Sequence[int]) -> str:
    """To run beside the held clients: waits for their end, prints what each said after its mark.

    A process that ended and was not yet waited for has no /proc/PID/exe.
    """
    waits = "".join(f"while [ -e /proc/{pid}/exe ]; do sleep 0.1; done\n" for pid in pids)
    ends = "".join(
        f'echo "{MARK}spark-cluster-test {number}"; cat {quote(folder)}/{number}; echo\n'
        for number in range(len(pids))
    )
    return waits + ends


def result_seconds(seconds: int) -> float:
    """How long the clients may take, with room for their ends."""
    return MEET_SECONDS + seconds + 10.0


def ready(line: str) -> tuple[str, tuple[int, ...]] | None:
    """The folder and the ports or processes of `ready DIR N …`; None for any other line."""
    words = line.split()
    found = [digits(word) for word in words[2:]]
    numbers = tuple(each for each in found if each)
    if len(words) < 3 or words[0] != "ready" or len(numbers) < len(found):
        return None
    return words[1], numbers


def sections(text: str, count: int) -> list[Output]:
    """What each client said, in the order of the lanes."""
    said = {digits(lane): text for lane, text in blocks(text, _MARK)}
    return [parse(said.get(number, "")) for number in range(count)]

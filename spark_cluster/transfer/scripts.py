"""The shell that sends the programs of node/ to a node and runs them there. Pure.

Each script comes after the prelude of facts/probe.py, which says who the SSH user is.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from spark_cluster.core.shell import held_folder, here_document, quote
from spark_cluster.core.units import number
from spark_cluster.transfer.node import (
    copy,
    files,
    hub,
    image,
    image_pull,
    pull,
    registry,
    store,
    streams,
)

#: Seconds that a program may take until it says its first word.
START_SECONDS = 40

_NAME = "spark-cluster-transfer"
_PACKAGE = "spark_cluster/transfer/node"
_MODULES = (files, streams, store, registry, hub, copy, image, image_pull, pull)


def _program(module: ModuleType, command: str, job: Mapping[str, Any]) -> tuple[str, str]:
    """Commands that put the programs and the job into `$_dir`, and the one that runs them."""
    name = module.__name__
    parts = [f'mkdir -p "$_dir/{_PACKAGE}"\n']
    folders = ("spark_cluster", "spark_cluster/transfer", _PACKAGE)
    parts += [f': > "$_dir/{folder}/__init__.py"\n' for folder in folders]
    for needed in _MODULES:
        file = needed.__name__.rpartition(".")[2]
        parts.append(here_document(f'"$_dir/{_PACKAGE}/{file}.py"', inspect.getsource(needed)))
    parts.append(here_document('"$_dir/job.json"', json.dumps(job) + "\n"))
    return "".join(parts), f"python3 -m {name} {command} job.json"


def once(module: ModuleType, command: str, job: Mapping[str, Any]) -> str:
    """To run: the program's output. Says `no-python` when the node has no python3."""
    prepare, run = _program(module, command, job)
    return f"""\
export SPARK_USER SPARK_HOME
(
command -v python3 >/dev/null || {{ echo no-python; exit 0; }}
_dir=$(mktemp -d /tmp/{_NAME}.XXXXXX) || exit 70
trap 'rm -rf "$_dir"' EXIT
{prepare}\
cd "$_dir" && {run}
)
"""


def held(module: ModuleType, command: str, job: Mapping[str, Any]) -> str:
    """To hold: starts the program and prints `ready DIR PID LINE` with the program's first line,
    or `failed` and why. The program ends when standard input ends, or on a signal."""
    prepare, run = _program(module, command, job)
    return f"""\
export SPARK_USER SPARK_HOME
{held_folder(_NAME)}\
command -v python3 >/dev/null || {{ echo "failed no-python"; exit 71; }}
(umask 077
{prepare})
cd "$_dir" || exit 70
{run} > "$_dir/said" 2> "$_dir/errors" < /dev/null &
_pid=$!; _pids=$_pid
_deadline=$(($(date +%s) + {START_SECONDS}))
until [ -s "$_dir/said" ]; do
  [ -e /proc/$_pid/exe ] || [ -s "$_dir/said" ] || {{
    echo "failed $(tail -n 1 "$_dir/errors")"; exit 71
  }}
  [ "$(date +%s)" -lt $_deadline ] || {{ echo "failed it says nothing"; exit 71; }}
  sleep 0.1
done
echo "ready $_dir $_pid $(head -n 1 "$_dir/said")"
cat > /dev/null
"""


@dataclass(frozen=True)
class Started:
    """A held program; `said` is its first line."""

    folder: str
    pid: int
    said: Mapping[str, Any]


def started(line: str) -> Started | None:
    """The program of `ready DIR PID LINE`; None for any other line."""
    words = line.split(" ", 3)
    pid = number(words[2]) if len(words) == 4 and words[0] == "ready" else None
    if pid:
        said = _object(words[3])
        return Started(words[1], pid, said) if said is not None else None
    return None


@dataclass(frozen=True)
class Look:
    """What a held program has said last. `notes` are all that it said for a person."""

    alive: bool
    said: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    errors: str = ""


def look_script(program: Started) -> str:
    """To run beside the held program. Its end is looked for first: what it said last is then
    there."""
    folder = quote(program.folder)
    return f"""\
if [ -e /proc/{program.pid}/exe ]; then echo alive; else echo ended; fi
grep '^{{"note"' {folder}/said
grep -v '^{{"note"' {folder}/said | tail -n 1
tail -n 3 {folder}/errors | sed 's/^/errors /'
true
"""


def look(text: str) -> Look:
    lines = text.split("\n")
    alive = bool(lines) and lines[0] == "alive"
    objects = [found for line in lines[1:] if (found := _object(line)) is not None]
    errors = [line.removeprefix("errors ") for line in lines[1:] if line.startswith("errors ")]
    notes = dict.fromkeys(str(said["note"]) for said in objects if "note" in said)
    last = [said for said in objects if "note" not in said]
    return Look(alive, last[-1] if last else {}, tuple(notes), "\n".join(errors))


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


# iperf3


def iperf_server(addresses: Sequence[str]) -> str:
    """To hold: iperf3 for one test on each address. Prints `ready PORT …`, or `failed` and why."""
    starts = "".join(f"_start {quote(address)}\n" for address in addresses)
    return f"""\
{held_folder(_NAME)}\
_fail() {{ echo "failed $*"; exit 71; }}
command -v iperf3 >/dev/null || _fail iperf3 is not installed
_port=5200
_ports=
_start() {{
  _port=$((_port + 1))
  while ss -Hltn "sport = :$_port" | grep -q .; do _port=$((_port + 1)); done
  timeout 90 iperf3 -s -1 -B "$1" -p $_port > "$_dir/$_port" 2>&1 < /dev/null &
  _pids="$_pids $!"; _ports="$_ports $_port"
  _tries=0
  until ss -Hltn "sport = :$_port" | grep -q .; do
    _tries=$((_tries + 1))
    [ $_tries -lt 100 ] || _fail $(tail -n 1 "$_dir/$_port")
    sleep 0.1
  done
}}
{starts}\
echo "ready$_ports"
cat > /dev/null
"""


def iperf_ports(line: str) -> tuple[int, ...]:
    """The ports of `ready PORT …`; none for any other line."""
    word, *ports = line.split() or [""]
    found = [number(port) or 0 for port in ports]
    good = word == "ready" and all(0 < port < 65536 for port in found)
    return tuple(found) if good else ()


def iperf_clients(
    addresses: Sequence[str], ports: Sequence[int], streams: int, seconds: int
) -> str:
    """To run: a client for each address, all at once; the JSON of each on a line of its own."""
    runs = "".join(
        f"iperf3 -c {quote(address)} -p {port} -P {streams} -t {seconds} --json > $_dir/{port} &\n"
        for address, port in zip(addresses, ports, strict=True)
    )
    return f"""\
command -v iperf3 >/dev/null || {{ echo 'iperf3 is not installed' >&2; exit 71; }}
_dir=$(mktemp -d /tmp/{_NAME}.XXXXXX) || exit 70
trap 'rm -rf "$_dir"' EXIT
{runs}wait
for _f in "$_dir"/*; do tr -d '\\n' < "$_f"; echo; done
"""

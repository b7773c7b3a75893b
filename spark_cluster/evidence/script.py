"""The script that collects the items on a host, and the reading of what it sends back.

Every item runs beside the others under its own `timeout`. A process that even KILL does not end (it
waits in the kernel, as nvidia-smi does when the driver hangs) is left behind: the script waits for
the items until a deadline, not for the processes.
"""

from __future__ import annotations

import base64
import binascii
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from spark_cluster.core.shell import here_document, quote
from spark_cluster.core.units import human_bytes
from spark_cluster.evidence.items import LIBRARY, Item
from spark_cluster.facts.probe import PRELUDE

#: Bytes of one item; what is beyond is cut off. Memory has less to give than a disk.
ITEM_LIMIT = 8 * 1024 * 1024
IN_MEMORY_LIMIT = 1024 * 1024

#: KiB that must be free where the items are collected.
_ROOM = 32 * 1024

#: Seconds beyond the longest item's limit: KILL comes two after TERM, and packing takes time.
_PATIENCE = 5
_PACKING = 40

_STATES = "collected.txt"
_PLACE = "place.txt"

_HEAD = f"""\
_make() {{
  [ "$(df -Pk "$1" | awk 'NR == 2 {{print $4}}')" -ge {_ROOM} ] || return
  _dir=$(mktemp -d "$1/spark-cluster-evidence.XXXXXX") && _place=$1 LIMIT=$2
}}
if ! {{ _make /tmp {ITEM_LIMIT} || _make /run {IN_MEMORY_LIMIT} ||
  _make /dev/shm {IN_MEMORY_LIMIT}; }} 2>/dev/null; then
  echo "no {_ROOM // 1024} MiB to write to in /tmp, /run and /dev/shm" >&2
  exit 70
fi
trap 'rm -rf "$_dir"' EXIT
trap 'exit 143' HUP INT PIPE TERM
OUT=$_dir/out _pids=
mkdir "$OUT" "$_dir/items" "$_dir/state" "$_dir/done"
echo "$_place" >"$OUT/{_PLACE}"
export OUT LIMIT SPARK_USER SPARK_HOME LC_ALL=C SYSTEMD_COLORS=0
_start() {{
  mkdir -p "$OUT/${{2%/*}}"
  (
    {{ timeout -k 2 "$3" sh "$_dir/items/$1"; echo $? >"$_dir/state/$1"; }} 2>&1 |
      head -c "$LIMIT" >"$OUT/$2"
    : >"$_dir/done/$1"
  ) </dev/null >/dev/null 2>&1 &
  _pids="$_pids $!"
}}
"""


def script(items: Sequence[Item]) -> str:
    """Collect the items and print a tar.gz of them in base64. It ends within `seconds(items)`."""
    parts = [PRELUDE, _HEAD]
    for number, item in enumerate(items):
        content = f"{LIBRARY}{item.shell.rstrip()}\n"
        parts.append(here_document(f'"$_dir/items/{number}"', content))
    for number, item in enumerate(items):
        path = item.path if "/" in item.path else f"./{item.path}"
        parts.append(f"_start {number} {quote(path)} {item.seconds}\n")
    longest = max((item.seconds for item in items), default=0)
    parts.append(
        f"""\
_until=$(($(date +%s) + {longest + _PATIENCE}))
while [ "$(ls "$_dir/done" | wc -l)" -lt {len(items)} ] && [ "$(date +%s)" -lt $_until ]; do
  sleep 0.2
done
"""
    )
    for number, item in enumerate(items):
        state = f'"$(cat "$_dir/state/{number}" 2>/dev/null || echo stuck)"'
        parts.append(f'echo {state} {quote(item.path)} >>"$OUT/{_STATES}"\n')
    parts.append('kill $_pids 2>/dev/null\ntar -C "$OUT" -czf - . 2>/dev/null | base64\nexit 0\n')
    return "".join(parts)


def seconds(items: Sequence[Item]) -> float:
    """After so long the script has ended, or its host hangs."""
    return max((item.seconds for item in items), default=0) + _PATIENCE + _PACKING


@dataclass(frozen=True)
class Collected:
    """`files` by path. `failed` says of each item that did not end well what became of it;
    `problem` is not empty if the archive broke off. `note` says where it was collected if not in
    /tmp."""

    files: dict[str, bytes] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    note: str = ""


def parse(output: str, items: Sequence[Item]) -> Collected:
    """What the script printed; of an archive that broke off, what came before."""
    files: dict[str, bytes] = {}
    problem = ""
    try:
        packed = base64.b64decode("".join(output.split()), validate=True)
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r|gz") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    files[member.name.removeprefix("./")] = content.read()
    except (binascii.Error, tarfile.TarError, OSError, EOFError) as error:
        problem = f"what the host sent broke off: {error}"
    states = files.pop(_STATES, b"").decode("utf-8", errors="replace")
    place = files.pop(_PLACE, b"").decode("utf-8", errors="replace").strip()
    return Collected(files, _failed(states, items), problem, _note(place))


def _note(place: str) -> str:
    if place in ("", "/tmp"):
        return ""
    return f"/tmp had no room: collected in {place}, at most {human_bytes(IN_MEMORY_LIMIT)} an item"


def _failed(states: str, items: Sequence[Item]) -> dict[str, str]:
    ended = {path: word for word, _, path in (line.partition(" ") for line in states.splitlines())}
    return {
        item.path: said for item in items if (said := _said(ended.get(item.path, ""), item.seconds))
    }


def _said(state: str, limit: int) -> str:
    """A status of its own is a program's business (a `grep` that finds nothing ends with 1); only
    the time limit is ours."""
    if state in ("124", "137"):
        return f"did not end within {limit} s"
    if state == "stuck":
        return f"did not end within {limit} s and could not be stopped"
    return "" if state else "was not begun"

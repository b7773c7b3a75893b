"""The script that collects the items on a host; evidence/unpack.py reads what it sends back.

Every item runs beside the others under its own `timeout`. A process that even KILL does not end (it
waits in the kernel, as nvidia-smi does when the driver hangs) is left behind: the script waits for
the items until a deadline, not for the processes.
"""

from __future__ import annotations

from collections.abc import Sequence

from spark_cluster.core.shell import here_document, quote
from spark_cluster.evidence.items import LIBRARY, Item
from spark_cluster.facts.probe import PRELUDE

#: Bytes of one item, its newest. Memory has less to give than a disk.
ITEM_LIMIT = 8 * 1024 * 1024
IN_MEMORY_LIMIT = 1024 * 1024

#: KiB that must be free where the items are collected.
_ROOM = 32 * 1024

#: Seconds beyond the longest item's limit: KILL comes two after TERM, and packing takes time.
_PATIENCE = 5
_PACKING = 40

#: Files of ours among the collected: how each item ended, where it was collected, what was cut.
STATES, PLACE, CUT = "collected.txt", "place.txt", "cut.txt"

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
echo "$_place" >"$OUT/{PLACE}"
export OUT LIMIT SPARK_USER SPARK_HOME LC_ALL=C SYSTEMD_COLORS=0
_start() {{
  mkdir -p "$OUT/${{2%/*}}"
  (
    {{ timeout -k 2 "$3" sh "$_dir/items/$1"; echo $? >"$_dir/state/$1"; }} 2>&1 |
      head -c "$((4 * LIMIT))" >"$OUT/$2"
    : >"$_dir/done/$1"
  ) </dev/null >/dev/null 2>&1 &
  _pids="$_pids $!"
}}
_shorten() {{
  [ -f "$1" ] || return 0
  [ "$(wc -c <"$1")" -gt "$2" ] || {{ [ "$3" -gt 0 ] && [ "$(wc -l <"$1")" -gt "$3" ]; }} ||
    return 0
  if [ "$3" -gt 0 ]; then tail -n "$3" "$1"; else cat "$1"; fi | tail -c "$2" >"$_dir/shorter"
  mv "$_dir/shorter" "$1"
  echo "${{1#"$OUT"/}}" >>"$OUT/{CUT}"
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
        parts.append(f'echo {state} {quote(item.path)} >>"$OUT/{STATES}"\n')
    parts.append("kill $_pids 2>/dev/null\n")
    for item in items:
        own = 0 if item.others else item.lines
        parts.append(f'_shorten "$OUT/"{quote(item.path)} "$LIMIT" {own}\n')
        if item.others:
            limits = f'"$((4 * LIMIT))" {item.lines}'
            parts.append(f'for f in "$OUT"/{item.others}; do _shorten "$f" {limits}; done\n')
    parts.append('tar -C "$OUT" -czf - . 2>/dev/null | base64\nexit 0\n')
    return "".join(parts)


def seconds(items: Sequence[Item]) -> float:
    """After so long the script has ended, or its host hangs."""
    return max((item.seconds for item in items), default=0) + _PATIENCE + _PACKING

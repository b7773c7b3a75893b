"""Disks: their space; the Hugging Face cache, what it lies on, and whose files are in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spark_cluster.core.shell import quote
from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, ProbeContext

#: Where caches lie: the default of huggingface_hub, and a common choice for a second disk.
FOLDERS = ("~/.cache/huggingface", "/opt/hf")

#: Foreign entries that are counted at most; enough to know that it is more than a slip.
_MOST = 200


@dataclass(frozen=True)
class Cache:
    """One cache folder. `free` and `size` in bytes of its file system, `read_ahead` in KiB.
    `rotational`: the kernel's word for a disk with platters, None if unknown. `foreign` are
    entries of `hub` that do not belong to the SSH user (at most 200), `owner` that of the first."""

    path: str
    source: str = ""
    kind: str = ""
    free: int | None = None
    size: int | None = None
    disk: str = ""
    rotational: bool | None = None
    read_ahead: int | None = None
    foreign: int = 0
    owner: str = ""


@dataclass(frozen=True)
class Space:
    """A file system: bytes free for an unprivileged user, and in all."""

    target: str
    free: int
    size: int


@dataclass(frozen=True)
class CacheFact:
    """`spaces` are the file systems of /, of docker and of the home."""

    caches: tuple[Cache, ...] = ()
    spaces: tuple[Space, ...] = ()


def _folder(path: str) -> str:
    return f'"$SPARK_HOME"/{quote(path[2:])}' if path.startswith("~/") else quote(path)


def _script(_: ProbeContext) -> str:
    folders = " ".join(_folder(path) for path in FOLDERS)
    return f"""\
df -B1 --output=avail,size,target / /var/lib/docker "$SPARK_HOME" 2>/dev/null |
  sed -n '2,$s/^/space /p'
for _d in {folders}; do
  [ -d "$_d" ] || continue
  echo "cache $_d"
  df -B1 --output=fstype,avail,size,source "$_d" 2>/dev/null | sed -n '2s/^/df /p'
  _src=$(df --output=source "$_d" 2>/dev/null | sed -n 2p)
  _b=$(readlink -f "$_src" 2>/dev/null)
  _b=$(readlink -f "/sys/class/block/${{_b##*/}}" 2>/dev/null)
  [ -z "$_b" ] || [ -e "$_b/queue" ] || _b=${{_b%/*}}
  if [ -n "$_b" ] && [ -r "$_b/queue/rotational" ]; then
    read -r _v <"$_b/queue/rotational"; echo "disk ${{_b##*/}} $_v"
    read -r _v <"$_b/queue/read_ahead_kb"; echo "read_ahead $_v"
  fi
  find "$_d/hub" -maxdepth 5 ! -user "$SPARK_USER" -printf 'foreign %u %P\\n' 2>/dev/null |
    sed -n '1,{_MOST}p;{_MOST}q'
done
true
"""


def _with(cache: Cache, kind: str, rest: str) -> Cache:
    words = rest.split()
    if kind == "df" and len(words) >= 4:
        return replace(
            cache,
            kind=words[0],
            free=number(words[1]),
            size=number(words[2]),
            source=" ".join(words[3:]),
        )
    if kind == "disk" and len(words) == 2:
        known = {"0": False, "1": True}.get(words[1])
        return replace(cache, disk=words[0], rotational=known)
    if kind == "read_ahead":
        return replace(cache, read_ahead=number(rest))
    if kind == "foreign" and words:
        return replace(cache, foreign=cache.foreign + 1, owner=cache.owner or words[0])
    return cache


def parse(text: str) -> CacheFact:
    caches: list[Cache] = []
    spaces: dict[str, Space] = {}
    for line in text.split("\n"):
        kind, _, rest = line.partition(" ")
        words = rest.split(None, 2)
        if kind == "space" and len(words) == 3:
            free, size = number(words[0]), number(words[1])
            if free is not None and size:
                spaces[words[2].strip()] = Space(words[2].strip(), free, size)
            continue
        if kind == "cache":
            caches.append(Cache(rest.strip()))
        elif caches:
            caches[-1] = _with(caches[-1], kind, rest)
    return CacheFact(tuple(caches), tuple(spaces.values()))


CACHE = Fact("cache", _script, parse)

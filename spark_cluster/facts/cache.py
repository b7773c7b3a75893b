"""Disks: their space; the Hugging Face cache, what it lies on, and whose files are in it."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.framing import blocks
from spark_cluster.core.shell import quote
from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.lines import Lines

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


def _cache(path: str, lines: Lines) -> Cache:
    kind, free, size, source = (*lines.words("df", 4), ["", "", "", ""])[0]
    disk, rotational = (*lines.words("disk", 2), ["", ""])[0]
    owners = [words[0] for rest in lines.every("foreign") if (words := rest.split())]
    return Cache(
        path=path,
        source=source,
        kind=kind,
        free=number(free),
        size=number(size),
        disk=disk,
        rotational={"0": False, "1": True}.get(rotational),
        read_ahead=lines.number("read_ahead"),
        foreign=len(owners),
        owner=owners[0] if owners else "",
    )


def parse(text: str) -> CacheFact:
    caches = (_cache(path.strip(), Lines(rest)) for path, rest in blocks(text, "cache"))
    spaces = {
        target: Space(target, int(free), int(size))
        for free, size, target in Lines(text).words("space", 3)
        if number(free) is not None and number(size)
    }
    return CacheFact(tuple(caches), tuple(spaces.values()))


CACHE = Fact("cache", _script, parse)

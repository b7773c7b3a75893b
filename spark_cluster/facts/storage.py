"""Disk space, the model's files, the files that we put on the host, ports in use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from spark_cluster.core.shell import quote
from spark_cluster.core.units import number
from spark_cluster.engines.spec import host_path
from spark_cluster.facts.base import Fact, ProbeContext, always
from spark_cluster.facts.lines import Lines
from spark_cluster.transfer.node.files import UNFINISHED

#: The line before what is said of a further model.
_DRAFT = "next-model"


@dataclass(frozen=True)
class ModelFact:
    """What the Hugging Face cache holds of the model.

    `revision` is the commit that the recipe's revision is there, empty if there is none; `missing`
    and `partial` name files; `weights` counts the shards that are complete, `weight_bytes` is
    their size. `drafts` say the same of the models that are loaded beside it.
    """

    revision: str = ""
    missing: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    weights: int = 0
    weight_bytes: int = 0
    path: str = ""
    drafts: tuple[ModelFact, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether an engine could load it without the network."""
        return bool(self.revision and self.weights) and not (self.missing or self.partial)


def snapshot_script(folder: str, revision: str) -> str:
    """Sets `_m`, the model's folder, and `_rev`, the commit of its revision there: what the ref
    says, or the revision itself if it is a commit that is there. Empty if there is none."""
    return f"""\
_m={host_path(folder)} _ref={quote(revision)}
_rev=$(cat "$_m/refs/$_ref" 2>/dev/null)
[ -n "$_rev" ] || [ ! -d "$_m/snapshots/$_ref" ] || _rev=$_ref
"""


def _model_script(context: ProbeContext) -> str:
    deployment = context.deployment
    if deployment is None or not deployment.model_folder:
        return "true"
    whole = [_files_of(deployment.model_folder, deployment.revision)]
    whole += [
        f"echo {_DRAFT}\n{_files_of(each.folder, each.revision)}" for each in deployment.drafts
    ]
    return "\n".join((*whole, "true"))


def _files_of(folder: str, revision: str) -> str:
    return f"""\
{snapshot_script(folder, revision)}
echo "path $_m"
echo "revision $_rev"
_s="$_m/snapshots/$_rev"
_new="$_m/{UNFINISHED}"
if [ -n "$_rev" ] && [ -e "$_new/$_rev" ]; then
  while read -r _n; do [ -e "$_m/blobs/$_n" ] || echo "partial $_n"; done < "$_new/$_rev"
fi
for _f in "$_m"/blobs/*.incomplete; do
  [ -e "$_f" ] || continue
  _n=${{_f##*/}}
  cat "$_new"/* 2>/dev/null | grep -qxF "${{_n%%.*}}" || echo "partial $_n"
done
if [ -n "$_rev" ] && [ -d "$_s" ]; then
  [ -s "$_s/config.json" ] || echo "missing config.json"
  if [ -e "$_s/model.safetensors.index.json" ]; then
    _w=$(grep -o '"[^"]*\\.safetensors"' "$_s/model.safetensors.index.json" | tr -d '"' | sort -u)
  else
    _w=model.safetensors
  fi
  for _f in $_w; do
    if [ -s "$_s/$_f" ]; then echo "weight $(stat -Lc %s "$_s/$_f")"; else echo "missing $_f"; fi
  done
fi"""


def parse_model(text: str) -> ModelFact:
    first, *drafts = re.split(f"^{_DRAFT}$", text, flags=re.MULTILINE)
    return replace(_parse(first), drafts=tuple(map(_parse, drafts)))


def _parse(text: str) -> ModelFact:
    lines = Lines(text)
    sizes = lines.numbers("weight")
    return ModelFact(
        revision=lines.first("revision"),
        missing=tuple(name.strip() for name in lines.every("missing")),
        partial=tuple(name.strip() for name in lines.every("partial")),
        weights=len(sizes),
        weight_bytes=sum(sizes),
        path=lines.first("path"),
    )


MODEL = Fact("model", _model_script, parse_model)


@dataclass(frozen=True)
class DiskFact:
    """Free bytes for an unprivileged user, by path."""

    free: dict[str, int] = field(default_factory=dict)


def _disk_script(context: ProbeContext) -> str:
    cache = f" {host_path(context.deployment.model_cache)}" if context.deployment else ""
    return f'df -B1 --output=avail,target /var/lib/docker "$SPARK_HOME"{cache} 2>/dev/null || true'


def parse_disk(text: str) -> DiskFact:
    free: dict[str, int] = {}
    for line in text.split("\n")[1:]:
        words = line.split(None, 1)
        available = number(words[0]) if len(words) == 2 else None
        if available is not None:
            free[words[1]] = available
    return DiskFact(free)


DISK = Fact("disk", _disk_script, parse_disk)


@dataclass(frozen=True)
class FilesFact:
    """Which of the deployment's files are on the host (their path names their content)."""

    present: frozenset[str] = frozenset()


def _files_script(context: ProbeContext) -> str:
    files = context.deployment.files if context.deployment else ()
    lines = [f"[ -s {quote(f.path)} ] && echo {quote(f.path)}" for f in files]
    return "\n".join([*lines, "true"])


FILES = Fact("files", _files_script, lambda text: FilesFact(frozenset(text.split())))


@dataclass(frozen=True)
class PortsFact:
    """TCP ports that something listens on, with what `ss` knows of who."""

    listening: dict[int, str] = field(default_factory=dict)


#: A row of `ss -Hltnp`. The names of processes are theirs to choose, fifteen bytes with line breaks
#: and quotes among them: too few to make such a beginning, which is all that a port needs.
_LISTENS = re.compile(
    r"LISTEN +[0-9]{1,10} +[0-9]{1,10} +[][0-9a-fA-F:.*]+(?:%[\w.-]{1,15})?(?:\])?:([0-9]{1,5}) +"
    r"[][0-9a-fA-F:.*]+:\*(?= |$)(.*)",
    re.ASCII,
)


def parse_ports(text: str) -> PortsFact:
    listening: dict[int, str] = {}
    for line in text.split("\n"):
        row = _LISTENS.match(line)
        if row and 0 < int(row[1]) < 65536:
            listening.setdefault(int(row[1]), row[2].strip())
    return PortsFact(listening)


PORTS = Fact("ports", always("ss -Hltnp"), parse_ports)

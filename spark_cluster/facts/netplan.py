"""The netplan files, and which renderer manages the host's interfaces."""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from spark_cluster.document import LOADER_FAULTS
from spark_cluster.facts.base import Fact, ProbeContext

_MARK = "@@file"


@dataclass(frozen=True)
class NetplanFile:
    """`interfaces` are the names under any kind of device; None if it is no valid YAML."""

    path: str
    mode: str
    content: str
    interfaces: frozenset[str] | None


@dataclass(frozen=True)
class NetplanFact:
    """`renderer` is netplan's word for what runs: NetworkManager or networkd."""

    renderer: str = "networkd"
    files: dict[str, NetplanFile] = field(default_factory=dict)


def _script(_: ProbeContext) -> str:
    return f"""\
systemctl is-active NetworkManager || true
for _f in /etc/netplan/*.yaml /run/netplan/*.yaml /lib/netplan/*.yaml; do
  [ -f "$_f" ] || continue
  echo "{_MARK} $(stat -c %a "$_f") $_f"
  cat "$_f"
  echo
done
"""


def parse(text: str) -> NetplanFact:
    renderer, _, rest = text.partition("\n")
    files: dict[str, NetplanFile] = {}
    for block in ("\n" + rest).split(f"\n{_MARK} ")[1:]:
        header, _, content = block.partition("\n")
        mode, _, path = header.partition(" ")
        content = content.rstrip("\n") + "\n"
        files[path] = NetplanFile(path, mode, content, interfaces(content))
    name = "NetworkManager" if renderer.strip() == "active" else "networkd"
    return NetplanFact(name, files)


def interfaces(content: str) -> frozenset[str] | None:
    """The names that a netplan file configures, with those that it matches by `name:`."""
    try:
        network = (yaml.safe_load(content) or {}).get("network") or {}
        names: set[str] = set()
        for kind, entries in network.items():
            if kind in ("version", "renderer") or not isinstance(entries, dict):
                continue
            for name, settings in entries.items():
                match = settings.get("match") if isinstance(settings, dict) else None
                matched = match.get("name") if isinstance(match, dict) else None
                names.add(str(matched or name))
        return frozenset(names)
    except (yaml.YAMLError, *LOADER_FAULTS):
        return None


NETPLAN = Fact("netplan", _script, parse)

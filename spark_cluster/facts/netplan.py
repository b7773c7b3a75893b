"""The netplan files, and which renderer manages the host's interfaces."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import yaml

from spark_cluster.bounded_yaml import LOADER_FAULTS
from spark_cluster.bounded_yaml import load as load_yaml
from spark_cluster.core.framing import MARK, READ, blocks
from spark_cluster.facts.base import Fact, always

_MARK = f"{READ}file"

#: How the first line of every file that our templates render begins.
OURS = "# Written by spark-cluster"

#: Where NetworkManager keeps the connections that somebody made with it (NetworkManager.conf(5)).
_KEYFILES = "/etc/NetworkManager/system-connections"


@dataclass(frozen=True)
class NetplanFile:
    """`interfaces` are the names under any kind of device, or the patterns that they match; None
    if it is no valid YAML."""

    path: str
    mode: str
    content: str
    interfaces: frozenset[str] | None

    @property
    def is_ours(self) -> bool:
        return self.content.startswith(OURS)

    def names(self, interface: str) -> bool:
        """Whether it configures this interface."""
        return any(fnmatchcase(interface, pattern) for pattern in self.interfaces or ())


@dataclass(frozen=True)
class Keyfile:
    """A connection that NetworkManager keeps itself, bound to one interface."""

    path: str
    name: str
    interface: str


@dataclass(frozen=True)
class NetplanFact:
    """`renderer` is netplan's word for what runs: NetworkManager or networkd."""

    renderer: str = "networkd"
    files: dict[str, NetplanFile] = field(default_factory=dict)
    keyfiles: tuple[Keyfile, ...] = ()

    @property
    def effective(self) -> list[NetplanFile]:
        """The files that netplan reads: of several with one name /run wins over /etc over /lib
        (netplan(5))."""
        found: dict[str, NetplanFile] = {}
        for folder in ("/lib/", "/etc/", "/run/"):
            for path, file in self.files.items():
                if path.startswith(folder):
                    found[path.rpartition("/")[2]] = file
        return list(found.values())


_SCRIPT = f"""\
systemctl is-active NetworkManager || true
for _f in /etc/netplan/*.yaml /run/netplan/*.yaml /lib/netplan/*.yaml; do
  [ -f "$_f" ] || continue
  echo "{MARK}file $(stat -c %a "$_f") $_f"
  cat "$_f"
  echo
done
for _f in {_KEYFILES}/*; do
  grep -qs '^interface-name=' "$_f" || continue
  echo "{MARK}file 600 $_f"
  awk '/^\\[/ {{ section = $0 }} section == "[connection]"' "$_f"
done
true
"""


def parse(text: str) -> NetplanFact:
    renderer, _, rest = text.partition("\n")
    files: dict[str, NetplanFile] = {}
    keyfiles: list[Keyfile] = []
    for header, content in blocks(rest, _MARK):
        mode, _, path = header.partition(" ")
        if path.startswith(_KEYFILES):
            keyfiles.extend(_keyfile(path, content))
            continue
        content = content.rstrip("\n") + "\n"
        files[path] = NetplanFile(path, mode, content, interfaces(content))
    name = "NetworkManager" if renderer.strip() == "active" else "networkd"
    return NetplanFact(name, files, tuple(keyfiles))


def _keyfile(path: str, content: str) -> list[Keyfile]:
    reader = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        reader.read_string(content)
    except configparser.Error:
        return []
    section = dict(reader["connection"]) if "connection" in reader else {}
    interface = section.get("interface-name", "")
    name = section.get("id") or path.rpartition("/")[2]
    return [Keyfile(path, name, interface)] if interface else []


def devices(content: str) -> dict[str, Mapping[str, object]] | None:
    """The settings of a netplan file by the device's name; None if it is no valid file."""
    try:
        network = (load_yaml(content) or {}).get("network") or {}
        return {
            str(name): settings if isinstance(settings, dict) else {}
            for kind, entries in network.items()
            if kind not in ("version", "renderer") and isinstance(entries, dict)
            for name, settings in entries.items()
        }
    except (yaml.YAMLError, *LOADER_FAULTS):
        return None


def interfaces(content: str) -> frozenset[str] | None:
    """The names that a netplan file configures, or what it matches by `name:`."""
    found = devices(content)
    return None if found is None else frozenset(map(_matched, found, found.values()))


def _matched(name: str, settings: Mapping[str, object]) -> str:
    match = settings.get("match")
    return str(match.get("name") or name) if isinstance(match, dict) else name


NETPLAN = Fact("netplan", always(_SCRIPT), parse)

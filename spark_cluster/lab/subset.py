"""A few packages and all that they need, out of a system that has more: the engine's container is
a part of the nodes' own system, and need not be installed apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_INFO = "var/lib/dpkg/info"

#: What the packages' scripts made when they were installed, which no list of files has.
_MADE = (
    "etc/alternatives", "etc/group", "etc/ld.so.cache", "etc/ld.so.conf", "etc/nsswitch.conf",
    "etc/passwd",
)  # fmt: skip

_TOP = ("bin", "sbin", "lib", "lib64", "proc", "sys", "dev", "run", "tmp")
"""Of the root: links into /usr, and the empty folders that a container mounts over."""


@dataclass(frozen=True)
class Package:
    """An installed package. `needs`: for each thing needed, the names of which one suffices."""

    name: str
    essential: bool
    needs: tuple[tuple[str, ...], ...]
    provides: tuple[str, ...]


def _names(text: str) -> tuple[str, ...]:
    """`libc6 (>= 2.38) | libc6.1:any` → libc6, libc6.1"""
    words = (re.match(r"\s*([a-z0-9][a-z0-9+.-]*)", part) for part in text.split("|"))
    return tuple(word[1] for word in words if word)


def installed(status: str) -> dict[str, Package]:
    """The packages of dpkg's status file, by name."""
    found = {}
    for stanza in status.split("\n\n"):
        fields = dict(re.findall(r"(?m)^([A-Za-z-]+): (.*)$", stanza))
        if " installed" not in fields.get("Status", ""):
            continue
        needs = ",".join(fields[key] for key in ("Pre-Depends", "Depends") if key in fields)
        package = Package(
            fields["Package"],
            fields.get("Essential") == "yes",
            tuple(filter(None, map(_names, needs.split(",")))),
            tuple(name for part in fields.get("Provides", "").split(",") for name in _names(part)),
        )
        found[package.name] = package
    return found


def closure(packages: dict[str, Package], wanted: Sequence[str]) -> set[str]:
    """`wanted`, what is essential, and what those need.

    Raises KeyError for a wanted package that is not installed.
    """
    providers = {name: each.name for each in packages.values() for name in each.provides}
    todo = [*wanted, *(each.name for each in packages.values() if each.essential)]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        for choice in packages[name].needs:
            have = [each if each in packages else providers.get(each) for each in choice]
            todo += [each for each in have if each is not None][:1]
    return found


def paths(root: Path, wanted: Sequence[str]) -> Iterator[str]:
    """The files and folders below `root` that make up a system of `wanted`, each once, a folder
    before what is in it; compiled Python beside its sources included."""
    status = (root / "var/lib/dpkg/status").read_text(encoding="utf-8")
    found = set(_TOP) | set(_MADE)
    for name in closure(installed(status), wanted):
        lists = [*(root / _INFO).glob(f"{name}.list"), *(root / _INFO).glob(f"{name}:*.list")]
        for path in lists:
            found |= {line[1:] for line in path.read_text(encoding="utf-8").splitlines()}
    for path in (root / "etc/alternatives").iterdir():
        found.add(f"etc/alternatives/{path.name}")
    for folder in ("usr/bin", "usr/sbin"):
        for path in (root / folder).iterdir():
            if path.is_symlink() and str(path.readlink()).startswith("/etc/alternatives/"):
                found.add(f"{folder}/{path.name}")
    compiled = {name.rpartition("/")[0] for name in found if name.endswith(".py")}
    for folder in compiled:
        cache = root / folder / "__pycache__"
        if cache.is_dir():
            found |= {f"{folder}/__pycache__/{path.name}" for path in cache.iterdir()}
    found = {_merged(root, name) for name in found - {"", "."}}
    for name in sorted(found):
        if (root / name).exists() or (root / name).is_symlink():
            yield name


def _merged(root: Path, name: str) -> str:
    """Where it is since `/bin` and its like are links into /usr: Ubuntu 24.04's packages still list
    `bin/ip`, and docker unpacks nothing through a link."""
    first, slash, _ = name.partition("/")
    return f"usr/{name}" if slash and first in _TOP and (root / first).is_symlink() else name

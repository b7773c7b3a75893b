"""The machine's own package mirror, read from its apt sources: no host name is written here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from spark_cluster.core.error import LabError

_DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_UBUNTU_KEYRING = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
_SUITES = {"debian": "trixie", "ubuntu": "noble"}
_COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}
_POCKET = re.compile(r"-(security|updates|backports|proposed.*)$|/")


@dataclass(frozen=True)
class Source:
    """One `deb` entry: where it is, which suites and components it has."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]

    def is_base(self) -> bool:
        """A distribution's own archive, not its security pocket nor somebody's extra shelf."""
        return "main" in self.components and any(not _POCKET.search(s) for s in self.suites)


@dataclass(frozen=True)
class Mirror:
    """What debootstrap needs to know."""

    distro: str
    uri: str
    suite: str
    components: tuple[str, ...]
    keyring: Path | None


def parse_list(text: str) -> list[Source]:
    """The one-line format of sources.list."""
    found = []
    for line in text.splitlines():
        words = re.sub(r"\[[^]]*\]", " ", line.partition("#")[0]).split()
        if len(words) >= 3 and words[0] == "deb":
            found.append(Source(words[1], (words[2],), tuple(words[3:])))
    return found


def parse_deb822(text: str) -> list[Source]:
    """The paragraph format of *.sources."""
    found = []
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for paragraph in re.split(r"\n\s*\n", plain):
        fields = HeaderParser().parsestr(paragraph)  # apt's fields are those of a mail's head
        types, uris, suites, components = (
            tuple(fields.get(name, "").split())
            for name in ("types", "uris", "suites", "components")
        )
        if "deb" in types and fields.get("enabled", "yes").lower() not in ("no", "false", "0"):
            found += [Source(uri, suites, components) for uri in uris]
    return found


def read_sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """Everything the machine's apt would look at."""
    found: list[Source] = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        if path.suffix == ".list":
            found += parse_list(text)
        elif path.suffix == ".sources":
            found += parse_deb822(text)
    return found


def distro_of(os_release: str) -> str:
    """`debian` or `ubuntu`, for derivatives by what they are like."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    words = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").split()
    for word in words:
        if word in _SUITES:
            return word
    raise LabError(
        "the lab's image is built from Debian's or Ubuntu's packages, and this is neither",
        remedy="run the lab on a Debian or Ubuntu machine",
    )


def choose(
    distro: str,
    sources: Iterable[Source],
    *,
    mirror: str | None = None,
    suite: str | None = None,
) -> Mirror:
    """The mirror to build from; what the user named wins over what apt uses."""
    suite = suite or _SUITES[distro]
    if mirror is None:
        mirror = next(
            (
                source.uri
                for source in sources
                if source.is_base() and source.uri.startswith(("http://", "https://", "file:"))
            ),
            None,
        )
    if mirror is None:
        raise LabError(
            "no package mirror in the apt sources of this machine",
            remedy="name one: spark-cluster lab up --mirror URI [--suite NAME]",
        )
    keyring = _UBUNTU_KEYRING if distro == "ubuntu" else _DEBIAN_KEYRING
    return Mirror(
        distro, mirror, suite, _COMPONENTS[distro], keyring if keyring.is_file() else None
    )


def this_machine(mirror: str | None = None, suite: str | None = None) -> Mirror:
    distro = distro_of(Path("/etc/os-release").read_text())
    return choose(distro, read_sources(), mirror=mirror, suite=suite)

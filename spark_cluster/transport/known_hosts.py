"""The files of known host keys, as OpenSSH writes them (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import hashlib
import hmac
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spark_cluster.core.error import HostKeyRejected

SSH_PORT = 22


@dataclass(frozen=True)
class HostKey:
    """A host's public key under the name by which known_hosts files know the host.

    `key` is base64; `name` is `host`, or `[host]:port` when the port is not 22.
    """

    name: str
    type: str
    key: str

    @property
    def blob(self) -> bytes:
        return base64.b64decode(self.key)

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -lf` prints it: SHA256:…"""
        return fingerprint(self.blob)

    @property
    def line(self) -> str:
        return f"{self.name} {self.type} {self.key}\n"


def fingerprint(blob: bytes) -> str:
    """SHA256:… of a public key's wire form."""
    digest = hashlib.sha256(blob).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def key_name(host: str, port: int) -> str:
    """The name of a host in these files."""
    host = host.lower()
    return host if port == SSH_PORT else f"[{host}]:{port}"


@dataclass(frozen=True)
class _Entry:
    marker: str
    names: tuple[str, ...]
    type: str
    key: str


_LINE = re.compile(r"(?:(@\S+)[ \t]+)?(\S+)[ \t]+(\S+)[ \t]+(\S+)(?:[ \t].*)?")


def _parse(line: str) -> _Entry | None:
    text = line.strip()
    found = None if text.startswith("#") else _LINE.fullmatch(text)
    if found is None:
        return None
    try:
        base64.b64decode(found[4], validate=True)
    except ValueError:
        return None
    return _Entry(found[1] or "", tuple(found[2].split(",")), found[3], found[4])


def _is_hash_of(pattern: str, name: str) -> bool:
    try:
        _, _, salt, digest = pattern.split("|")
        wanted = base64.b64decode(digest, validate=True)
        key = base64.b64decode(salt, validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(key, name.encode(), "sha1").digest(), wanted)


def _one_matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return _is_hash_of(pattern, name)
    # Square brackets belong to `[host]:port` here; only * and ? are wild.
    glob = pattern.lower().replace("[", "[[]")
    return fnmatch.fnmatchcase(name, glob)


def _matches(entry: _Entry, name: str) -> bool:
    if any(_one_matches(p[1:], name) for p in entry.names if p.startswith("!")):
        return False
    return any(_one_matches(p, name) for p in entry.names if not p.startswith("!"))


def _parsed(text: str) -> Iterator[_Entry]:
    return filter(None, map(_parse, text.split("\n")))


def _entries(paths: Iterable[str | Path]) -> Iterator[_Entry]:
    for path in paths:
        with contextlib.suppress(OSError):
            yield from _parsed(Path(path).read_text(encoding="utf-8", errors="surrogateescape"))


def lookup(paths: Iterable[str | Path], name: str) -> list[HostKey]:
    """The keys known for `name`, in the files' order, without those that are marked revoked.

    A file that is missing or cannot be read knows none. Certificate authorities are left out.
    """
    mine = [entry for entry in _entries(paths) if _matches(entry, name)]
    revoked = {entry.key for entry in mine if entry.marker == "@revoked"}
    keys = [
        HostKey(name, entry.type, entry.key)
        for entry in mine
        if not entry.marker and entry.key not in revoked
    ]
    return list(dict.fromkeys(keys))


def record(path: str | Path, keys: Sequence[HostKey], replace: bool = False) -> None:
    """Write `keys` into the file at `path`, which is made (0600) if it is not there.

    All other lines stay as they are, byte for byte. The file changes all at once or not at all.
    `replace` first takes out every other key of these hosts, hashed names included.

    Raises HostKeyRejected when another key of the same type is there and `replace` is not set,
    OSError when the file cannot be written.
    """
    real = Path(os.path.realpath(path))
    old = real.read_bytes() if real.exists() else b""
    text = old.decode("utf-8", errors="surrogateescape")
    if replace:
        text = _without(text, keys)
    else:
        _refuse_conflicts(real, keys)
    there = list(_parsed(text))
    new = [key for key in dict.fromkeys(keys) if not any(_is_of(each, key) for each in there)]
    if text and new and not text.endswith("\n"):
        text += "\n"
    text += "".join(key.line for key in new)
    data = text.encode("utf-8", errors="surrogateescape")
    if data != old or not real.exists():
        _write(real, data)


def _is_of(entry: _Entry, key: HostKey) -> bool:
    return not entry.marker and entry.key == key.key and _matches(entry, key.name)


def _refuse_conflicts(path: Path, keys: Sequence[HostKey]) -> None:
    for key in keys:
        there = [k for k in lookup([path], key.name) if k.type == key.type]
        if there and key not in there:
            raise HostKeyRejected(
                f"{path} has another {key.type} key for {key.name}: {there[0].fingerprint}; "
                f"the host shows {key.fingerprint}",
                remedy="compare the fingerprint with the host's own "
                "(ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub, on its console), "
                "then trust it with --replace",
                host=key.name,
            )


def _without(text: str, keys: Sequence[HostKey]) -> str:
    names = {key.name for key in keys}
    return "".join(_strip(line, names, keys) for line in re.findall(r"[^\n]*\n|[^\n]+", text))


def _strip(line: str, names: set[str], keys: Sequence[HostKey]) -> str:
    """`line` without these names; empty if it named nobody else."""
    entry = _parse(line)
    if entry is None or entry.marker or any(k.key == entry.key for k in keys):
        return line
    rest = [
        pattern
        for pattern in entry.names
        if not any(
            pattern.lower() == name or (pattern.startswith("|1|") and _is_hash_of(pattern, name))
            for name in names
        )
    ]
    if len(rest) == len(entry.names):
        return line
    return line.replace(",".join(entry.names), ",".join(rest), 1) if rest else ""


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

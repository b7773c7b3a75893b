"""How a script travels to a host and back. Pure: text and bytes in, text and bytes out.

The host's login shell gets one command of one quoted word, in which there is no single quote, no
backslash and no newline, so that bash, zsh, dash and fish hand it on alike:

    exec sh -c 'PATH=…; sudo -n env … timeout -k 5 60 sh -s; exit $?'

The script itself follows on standard input, as one brace group: the shell reads it to its end
before it runs the first command, so that half a script never runs and no command in it can eat
the rest.
The shell first prints a token, with the id of its parent (`timeout`), so that what login files
print can be told from what the script prints, and so that `abort` has something to aim at.
"""

from __future__ import annotations

import codecs
import enum
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Event

from spark_cluster.core import framing
from spark_cluster.core.secret import Secret, redact

#: Seconds between TERM and KILL for a script that is past its time.
KILL_AFTER = 5
#: Bytes of standard output, and of standard error, that are kept of one script: the newest.
LIMIT = 64 * 1024 * 1024
#: Bytes of what login files and sudo print that are kept before the script begins.
_EARLY = 64 * 1024
#: Characters of one line that a callback sees.
_LINE = 1024 * 1024

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_TOKEN = re.compile(r"[A-Za-z0-9-]{8,64}")


class Way(enum.Enum):
    """As whom a script runs, and how it becomes that."""

    USER = "user"
    ROOT = "root"
    ROOT_WITH_PASSWORD = "root with password"


def command_line(way: Way, token: str, limit: float | None) -> str:
    """What the login shell is asked to run; `limit` is in seconds, None for no limit.

    Raises ValueError for a limit that `timeout` would read as none at all.
    """
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"not a token: {token!r}")
    shell = "sh -s" if limit is None else f"timeout -k {KILL_AFTER} {_seconds(limit)} sh -s"
    if way is Way.USER:
        body = shell
    else:
        body = f'if [ "$(id -u)" = 0 ]; then {shell}; else {_sudo(way, token, shell)}; fi'
    setup = f"PATH=$PATH:{_SBIN} LC_ALL=C; export PATH LC_ALL"
    return f"exec sh -c '{setup}; {body}; exit $?'"


def _sudo(way: Way, token: str, shell: str) -> str:
    env = 'env SSH_CONNECTION="$SSH_CONNECTION" LC_ALL=C'
    if way is Way.ROOT:
        return f"sudo -n {env} {shell}"
    ready = f'sh -c "echo {token}-ready >&2; exec {shell}"'
    return f"sudo -k -S -p {token}-ask {env} {ready}"


def _seconds(limit: float) -> str:
    if limit < 0.001:
        raise ValueError(f"a time limit must be above zero, not {limit}")
    return f"{limit:.3f}".rstrip("0").rstrip(".")


def payload(
    script: str,
    token: str,
    environment: Mapping[str, str] | None = None,
    *,
    held: bool = False,
    mark: str = framing.READ,
) -> bytes:
    """What goes to the shell's standard input: the script, made safe to hand over that way.

    `mark` begins the script's own lines (core/framing.py). A held script keeps the standard input,
    to notice its end; another one gets /dev/null. TERM waits for the command in the foreground, so
    that `timeout` is still there to send KILL to one that ignores TERM.
    """
    exports = "".join(
        f"{_name(key)}={shlex.quote(value)}; export {key}; "
        for key, value in (environment or {}).items()
    )
    first = (
        f"printf '%s\\n' {token}; printf '%s %s\\n' {token} \"$PPID\" >&2; "
        f"trap 'exit 143' TERM; PATH=$PATH:{_SBIN}; LC_ALL=C; export PATH LC_ALL; "
        f"{framing.assignment(mark)}; {exports}:"
    )
    end = "exit $?\n}" if held else "} </dev/null"
    return f"{first}\n{{\n{script}\n\n{end}\n".encode()


def _name(key: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
        raise ValueError(f"not the name of an environment variable: {key!r}")
    return key


def stop_script(pid: int) -> str:
    """The script that ends the process group of `pid`: TERM, and KILL for what is left of it."""
    patience = (KILL_AFTER + 2) * 10
    return (
        f"kill -TERM {pid} 2>/dev/null || exit 0\n"
        f"i=0\n"
        f"while kill -0 -- -{pid} 2>/dev/null && [ $i -lt {patience} ]; do\n"
        f"  sleep 0.1; i=$((i+1))\n"
        f"done\n"
        f"kill -KILL -- -{pid} 2>/dev/null\n"
        f"exit 0"
    )


def first_line(script: str, secrets: Iterable[Secret] = ()) -> str:
    """The script's first line that says something, redacted: its name in messages."""
    for line in script.split("\n"):
        text = line.strip()
        if text and not text.startswith("#"):
            return redact(text, secrets)
    return ""


def last_lines(text: str, count: int = 5) -> str:
    """The last `count` lines of `text` that are not empty."""
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    return "\n".join(lines[-count:])


class _Kept:
    """The newest bytes up to a limit; those before are counted and dropped."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.dropped = 0

    def add(self, data: bytes) -> None:
        self._data += data
        excess = len(self._data) - LIMIT
        if excess > 0:
            del self._data[:excess]
            self.dropped += excess

    def text(self) -> str:
        """Without the rest of a line whose beginning was dropped: it could read as another."""
        start = self._data.find(b"\n") + 1 if self.dropped else 0
        return self._data[start:].decode("utf-8", errors="replace")

    def first_line(self) -> str | None:
        """The first line, once it is whole. It is looked for in the first bytes only."""
        end = self._data.find(b"\n", 0, _EARLY)
        return None if end < 0 or self.dropped else self._data[:end].decode("utf-8", "replace")


class _Lines:
    """Cuts a stream of bytes into lines for a callback, whatever pieces it comes in. A line that
    does not end is handed out cut, and says so."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._on_line = on_line
        self._parts: list[str] = []
        self._length = 0

    def add(self, data: bytes, final: bool = False) -> None:
        first, *rest = self._decode(data, final).split("\n")
        self._keep(first)
        for text in rest:
            self._end()
            self._keep(text)
        if final and self._length:
            self._end()

    def _keep(self, text: str) -> None:
        if text and self._length < _LINE:
            self._parts.append(text[: _LINE - self._length])
        self._length += len(text)

    def _end(self) -> None:
        cut = self._length - _LINE
        said = f" [{cut} characters of this line left out]" if cut > 0 else ""
        line = "".join(self._parts) + said
        self._parts, self._length = [], 0
        self._on_line(line)


class _Early:
    """What comes before the script, of which the newest is kept. Every byte is searched once."""

    def __init__(self, pattern: bytes, longest: int) -> None:
        self._pattern = re.compile(pattern)
        self._longest = longest
        self._data = bytearray()
        self._at = 0

    def add(self, data: bytes) -> None:
        self._data += data

    def find(self) -> re.Match[bytes] | None:
        """The next match, once only."""
        found = self._pattern.search(self._data, self._at)
        if found is not None:
            self._at = found.end()
            return found
        self._at = max(self._at, len(self._data) - self._longest)
        excess = len(self._data) - _EARLY
        if excess > 0:
            del self._data[:excess]
            self._at = max(0, self._at - excess)
        return None

    def rest(self) -> bytes:
        """What comes after the last match."""
        return bytes(self._data[self._at :])

    def __bytes__(self) -> bytes:
        return bytes(self._data)


@dataclass(frozen=True)
class Refusal:
    """Why the shell never started: sudo wants a password, refuses, or is not there."""

    wants_password: bool
    reason: str


class Exchange:
    """One script's conversation with a host: what came back so far, and what to send next.

    `started` says that the shell runs, and `pid` is then the id of the process to stop.
    """

    def __init__(
        self,
        way: Way,
        token: str,
        body: bytes,
        *,
        held: bool = False,
        mark: str = "",
        password: Secret | None = None,
        secrets: Iterable[Secret] = (),
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.way = way
        self.pid: int | None = None
        self.announced = Event()
        self.wrong_password = False
        self._token = token.encode()
        self._mark = mark
        self._body: bytes | None = body
        self._held = held
        self._password = password
        self._secrets = secrets
        self._lines = None if on_line is None else _Lines(lambda text: on_line(self._read(text)))
        word = re.escape(self._token)
        self._before_out: _Early | None = _Early(word + rb"\n", len(token))
        self._before_err: _Early | None = _Early(
            word + rb"(?:(?P<ask>-ask)|(?P<ready>-ready\n)| (?P<pid>\d{1,10})\n)", len(token) + 12
        )
        self._asking = 0
        self._ready = False
        self._asked = 0
        self._out = _Kept()
        self._err = _Kept()

    @property
    def started(self) -> bool:
        return self.pid is not None

    @property
    def stdout(self) -> str:
        return self._read(self._out.text())

    @property
    def dropped(self) -> int:
        """Bytes at the beginning of standard output that were not kept."""
        return self._out.dropped

    @property
    def first_line(self) -> str | None:
        """The first line of standard output, None until it is there."""
        line = self._out.first_line()
        return None if line is None else self._read(line)

    @property
    def stderr(self) -> str:
        """What the script wrote there; before it started, what sudo or the login shell did."""
        early = bytes(self._before_err or b"")
        text = self._err.text() if self.started else self._without_marks(early)
        for name, kept in (("output", self._out), ("stderr", self._err)):
            if kept.dropped:
                text += f"\n[the first {kept.dropped} bytes of {name} left out, beyond {LIMIT}]\n"
        return self._clean(text)

    def feed_out(self, data: bytes) -> None:
        """Take bytes of standard output."""
        if self._before_out is not None:
            self._before_out.add(data)
            if self._before_out.find() is None:
                return
            data = self._before_out.rest()
            self._before_out = None
        self._out.add(data)
        if self._lines is not None:
            self._lines.add(data)

    def feed_err(self, data: bytes) -> None:
        """Take bytes of standard error."""
        if self._before_err is None:
            self._err.add(data)
            return
        self._before_err.add(data)
        while (found := self._before_err.find()) is not None:
            self._asking += found["ask"] is not None
            self._ready = self._ready or found["ready"] is not None
            if found["pid"] is None:
                continue
            self._err.add(self._before_err.rest())
            self._before_err = None
            self.pid = int(found["pid"])
            self.announced.set()
            return

    def outgoing(self) -> tuple[bytes, bool]:
        """What to send now, and whether the input ends with it; (b"", False) for nothing.

        The password goes out only when sudo asks, the script only when it will be read by the
        shell: a rule NOPASSWD, or a wrong password, never turns one into the other.
        """
        if self._body is None:
            return b"", False
        if self.way is Way.ROOT_WITH_PASSWORD and not self._ready:
            return self._answer(self._asking), False
        body, self._body = self._body, None
        return body, not self._held

    def _answer(self, asked: int) -> bytes:
        if asked <= self._asked:
            return b""
        if self._asked or self._password is None:
            self.wrong_password = True
            return b""
        self._asked = 1
        return self._password.reveal().encode() + b"\n"

    def finish(self) -> None:
        """The streams have ended: hand out a last line that had no newline."""
        self.announced.set()
        if self._lines is not None:
            self._lines.add(b"", final=True)

    def refusal(self) -> Refusal | None:
        """Why the shell did not start, if sudo is the reason; None if it is not."""
        if self.started or self.way is Way.USER:
            return None
        text = self.stderr
        wants = "a password is required" in text or "a terminal is required" in text
        if self.way is Way.ROOT and wants:
            return Refusal(True, last_lines(text, 1))
        if re.search(r"\bsudo|not allowed|sorry", text, re.IGNORECASE):
            return Refusal(False, last_lines(text, 1))
        return None

    def _without_marks(self, data: bytes) -> str:
        text = data.decode("utf-8", errors="replace")
        token = re.escape(self._token.decode())
        return re.sub(rf"{token}(-ask|-ready\n)", "", text)

    def _clean(self, text: str) -> str:
        return redact(text, self._secrets)

    def _read(self, text: str) -> str:
        return self._clean(framing.read(text, self._mark) if self._mark else text)

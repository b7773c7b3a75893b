"""Standard output and error that are closed, full or ASCII, or whose reader goes away, as `head`.

A verb that only shows something ends then, with exit code 1. One that changes hosts goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast


class Unheard(BaseException):
    """What is said cannot be written; `problem` is empty when the reader went away by itself. No
    Exception: no handler of ours may take it for a fault of its own work."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def go_on_unheard() -> None:
    """From now on what cannot be written any more is dropped: a run that changes hosts comes to
    its own end, and fails only then. Until the command line's end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _Stream):
            stream.goes_on = True


class Streams:
    """Both streams while a command line runs."""

    def __init__(self) -> None:
        _occupy()
        if sys.stdin is None:
            sys.stdin = Path(os.devnull).open()  # noqa: SIM115
        self._before = sys.stdout, sys.stderr
        out, err = _Stream(sys.stdout), _Stream(sys.stderr)
        # Who cannot be told that nobody listens is not told.
        err.goes_on = True
        self._ours = out, err
        sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)

    def lost(self) -> str:
        """Why standard output could not be written; empty if it could, or if its reader went."""
        out = self._ours[0]
        out.goes_on = True
        out.flush()
        return out.problem

    def restore(self) -> None:
        """Both are as they were, and Python's exit does not stumble over what one of them could
        not write."""
        for stream in self._ours:
            stream.goes_on = True
            stream.flush()
        sys.stdout, sys.stderr = self._before


@contextlib.contextmanager
def streams_kept() -> Iterator[Streams]:
    streams = Streams()
    try:
        yield streams
    finally:
        streams.restore()


def _occupy() -> None:
    """A connection must not get the number of a standard stream that was closed: what is said would
    go to the host."""
    while True:
        number = os.open(os.devnull, os.O_RDWR)
        if number > 2:
            os.close(number)
            return
        os.set_inheritable(number, True)


class _Stream:
    """A stream that raises Unheard once, or falls silent, when it cannot be written."""

    def __init__(self, stream: TextIO | None) -> None:
        self.goes_on = False
        self.problem = ""
        self._silent = False
        self._stream = stream if stream is not None else Path(os.devnull).open("w")  # noqa: SIM115
        self._closed = stream is None
        with contextlib.suppress(AttributeError, ValueError, OSError):
            # An ASCII terminal, or a name that is no Unicode, must not end a run.
            cast(Any, self._stream).reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self._closed and text:
            self._fail(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._fail(error)

    def _fail(self, error: OSError | ValueError) -> None:
        """What the stream still holds and what is written to it later goes nowhere."""
        told, self._silent = self._silent, True
        if not (isinstance(error, OSError) and error.errno == errno.EPIPE):
            self.problem = self.problem or getattr(error, "strerror", None) or str(error)
        # A stream without a file behind it has nothing to silence.
        with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())
        if not self.goes_on and not told:
            raise Unheard(self.problem)

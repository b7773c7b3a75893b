"""Standard output and error whose reader may go away, as `head` does.

typer and rich end a verb then, with exit code 1. That suits one that only shows something.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast


def go_on_unheard() -> None:
    """From now on what cannot be written any more is dropped: a run that changes hosts comes to
    its own end and its own exit code. Until the command line's end."""
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


@contextlib.contextmanager
def streams_kept() -> Iterator[None]:
    """Afterwards both streams are as they were, and Python's exit does not stumble over what one of
    them could not write."""
    streams = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for stream in streams:
            with _silencing(stream):
                stream.flush()


def _outliving(stream: TextIO) -> TextIO:
    return stream if isinstance(stream, _Outliving) else cast(TextIO, _Outliving(stream))


class _Outliving:
    """A stream that falls silent on the first error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _silencing(self._stream):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _silencing(self._stream):
            self._stream.flush()


@contextlib.contextmanager
def _silencing(stream: TextIO) -> Iterator[None]:
    """After an error, what the stream still holds and what is written to it goes nowhere."""
    try:
        yield
    except OSError:
        # A stream without a file behind it has nothing to silence.
        with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())

"""Being told to end, as what Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType


@contextlib.contextmanager
def as_ctrl_c() -> Iterator[None]:
    """Being told to end and losing the terminal are KeyboardInterrupt, too: what is under way comes
    to an end of its own."""
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def hang_up(_signum: int, _: FrameType | None) -> None:
        with Path(os.devnull).open("wb") as nowhere:
            for number in terminals:
                os.dup2(nowhere.fileno(), number)
        raise KeyboardInterrupt

    handlers = {signal.SIGTERM: signal.default_int_handler, signal.SIGHUP: hang_up}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        del handlers[signal.SIGHUP]
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

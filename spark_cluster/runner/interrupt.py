"""Ctrl-C: once, nothing new is begun; twice, the remote commands in flight are stopped, too."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from spark_cluster.core.event import Listener, Note
from spark_cluster.runner.session import Session


@contextlib.contextmanager
def heed(session: Session, listener: Listener) -> Iterator[None]:
    """While inside, SIGINT and SIGTERM stop the session instead of the program."""

    def stop(_signum: int, _: FrameType | None) -> None:
        session.stop.request()
        if session.stop.count == 1:
            message = "stopping: the commands in flight finish first; Ctrl-C again stops them"
        else:
            message = "stopping the remote commands"
        # Not from inside the handler: it may have interrupted a listener that holds the bus.
        threading.Thread(target=listener, args=(Note(message),), daemon=True).start()
        if session.stop.count > 1:
            threading.Thread(target=session.abort, daemon=True).start()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

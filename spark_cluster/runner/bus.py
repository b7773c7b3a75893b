"""The one stream of events; the console, `--json` and the journal listen."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from spark_cluster.core.event import Event, Listener


class Bus:
    """Hands every event to every listener, one event at a time, whichever thread it comes from."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            for listener in self._listeners:
                listener(event)

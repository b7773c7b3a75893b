"""For the program under test alone: its connections lead into the hosts of namespaces.

Python imports this at its start, from $PYTHONPATH. No SSH; all else is the program's own, also in
the processes that it starts itself.

    SPARK_CLUSTER_GPU_HOSTS      a JSON file: host -> the words that put a command onto it
    SPARK_CLUSTER_GPU_PATIENCE   what `watch` waits for, in seconds, such as wedge=8,dead=4
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path

from spark_cluster.actions import operator
from spark_cluster.transport.local import LocalConnection
from spark_cluster.transport.protocol import Become, Connector, Target
from spark_cluster.transport.pump import Wire

_WAYS: dict[str, list[str]] = json.loads(Path(os.environ["SPARK_CLUSTER_GPU_HOSTS"]).read_text())


class HostConnection(LocalConnection):
    def __init__(self, target: Target, become: Become) -> None:
        super().__init__(target, become)
        self._enter = _WAYS[target.name]

    def _start(self, command: str) -> Wire:
        return super()._start(shlex.join([*self._enter, "sh", "-c", command]))


def connector() -> Connector:
    return HostConnection


def hurry(text: str) -> None:
    """A minute's watch sees what one of days would."""
    from spark_cluster.watch import detector as judgement
    from spark_cluster.watch import watcher

    given = {name: float(value) for name, _, value in (e.partition("=") for e in text.split(","))}
    thresholds = replace(judgement.DEFAULT, **given)
    watcher.Settings = partial(watcher.Settings, thresholds=thresholds)  # type: ignore[misc, assignment]


operator.connector = connector
if os.environ.get("SPARK_CLUSTER_GPU_PATIENCE"):
    hurry(os.environ["SPARK_CLUSTER_GPU_PATIENCE"])

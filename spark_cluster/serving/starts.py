"""The marks of ours in a container's log: where a server inside it begins and with what it ended.

A container that outlives its servers, as Ray's head does, has the log of all of them. The marks are
text in a log that others write to: that a server has ended is believed only where its process is
gone, too (`steps/serving.py`, `workload/served.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_BEGINS = re.compile(r"spark-cluster: (?:vllm serve|trtllm-serve) begins", re.ASCII)
_EXITED = re.compile(r"spark-cluster: (?:vllm serve|trtllm-serve) exited with (\d{1,3})", re.ASCII)


def last_start(lines: Sequence[str]) -> Sequence[str]:
    """The lines since the last server began; all of them where no mark is."""
    for number in range(len(lines) - 1, -1, -1):
        if _BEGINS.fullmatch(lines[number]):
            return lines[number + 1 :]
    return lines


def exit_status(lines: Sequence[str]) -> int | None:
    """The status with which the last server ended; None if its end is not in the log."""
    for line in reversed(lines):
        if _BEGINS.fullmatch(line):
            return None
        if found := _EXITED.fullmatch(line):
            return int(found[1])
    return None

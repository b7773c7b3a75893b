"""What the programs on the nodes call `reason`, as our errors: class, diagnosis, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.error import CheckFailed, SparkError, StepFailed

_CODES = {
    "corrupt": "MODEL001",
    "source": "MODEL001",
    "network": "MODEL003",
    "address": "MODEL003",
    "client": "MODEL004",
    "offline": "MODEL004",
    "gated": "MODEL005",
    "unknown": "MODEL005",
    "no-client": "MODEL006",
    "space": "MODEL007",
    "docker": "DOCKER001",
    "registry": "IMAGE002",
    "no-image": "IMAGE003",
    "digest": "IMAGE004",
    "image-space": "IMAGE005",
}


def failure(said: Mapping[str, Any], host: str, step: str) -> SparkError:
    """The error of a program's `{"failed": …, "reason": …}`."""
    reason = str(said.get("reason", ""))
    kind = CheckFailed if reason == "corrupt" else StepFailed
    code = _CODES.get(reason)
    remedy = DIAGNOSES[code].fix if code else "See what the message names on the host; run again."
    return kind(str(said["failed"]), remedy=remedy, host=host, step=step, code=code)

"""From how many watts on a GPU computes: below, it waits, whatever its utilisation says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

#: By a word of the GPU's name. A GB10 that computes draws 60 W and more, one that waits in a wedge
#: under 30 W (vllm issue 41725). An H200 drew 79 to 81 W without a model; with one, 121 to 125 W
#: both idle and stuck at 100 % utilisation (measured, driver 580, vLLM 0.23).
WORK_WATTS: Mapping[str, float] = {"GB10": 40.0, "H200": 160.0}

#: Above so many times what it draws while no request runs, a GPU computes. A GPU that waits for
#: another in a wedge draws hardly more than that; one that computes, twice as much and more.
_ABOVE_IDLE = 1.4

#: So many readings of an idle GPU are kept, and so few are too few: just after a request some
#: drivers still tell the mean of a second in which it worked.
KEPT = 15
_ENOUGH = 5


def work_watts(gpu: str, idle: Sequence[float] = ()) -> float | None:
    """From how many watts on this GPU computes, by its name and by what it drew while no request
    ran; None while neither is known."""
    known = next((watts for word, watts in WORK_WATTS.items() if word in gpu.split()), None)
    if len(idle) < _ENOUGH:
        return known
    return max(known or 0.0, _ABOVE_IDLE * median(idle))

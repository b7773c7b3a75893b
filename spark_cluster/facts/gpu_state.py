"""How the GPU does: clocks, power, load, why it is held back, and whose its processes are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, always
from spark_cluster.facts.gpu import ASK_SMI
from spark_cluster.facts.lines import Lines

_FIELDS = "clocks.sm,clocks.max.sm,power.draw,utilization.gpu,temperature.gpu"


@dataclass(frozen=True)
class GpuOwner:
    """A process on the GPU: its user's id, and the container's id from its cgroup, if any."""

    pid: int
    uid: int | None = None
    container: str = ""


@dataclass(frozen=True)
class GpuStateFact:
    """MHz, W, percent, degrees Celsius; None where nvidia-smi says N/A. `reasons` is the bit mask
    of clocks_event_reasons.active (NVML's nvmlClocksEventReason constants)."""

    sm_mhz: float | None = None
    max_sm_mhz: float | None = None
    watts: float | None = None
    utilization: float | None = None
    celsius: float | None = None
    reasons: int | None = None
    owners: tuple[GpuOwner, ...] = ()


# Older drivers call the reasons clocks_throttle_reasons and refuse the newer name.
_SCRIPT = f"""\
{ASK_SMI}_q() {{ _smi --query-gpu={_FIELDS},"$1" --format=csv,noheader,nounits; }}
if _q clocks_event_reasons.active || _q clocks_throttle_reasons.active; then
  printf '%s\\n' "$_said" | sed -n 's/^./state,&/p'
fi
_smi --query-compute-apps=pid --format=csv,noheader || _said=
for _p in $_said; do
  [ -r "/proc/$_p/cgroup" ] || continue
  _uid='' _cg=''
  while read -r _k _v _rest; do
    [ "$_k" != Uid: ] || {{ _uid=$_v; break; }}
  done <"/proc/$_p/status"
  while read -r _v; do _cg="$_cg$_v;"; done <"/proc/$_p/cgroup"
  echo "owner $_p ${{_uid:-?}} $_cg"
done 2>/dev/null
true
"""

_CONTAINER = re.compile(r"(?:docker[-/]|containerd[-/]|libpod-)([0-9a-f]{64})", re.ASCII)
_NUMBER = re.compile(r"\d{1,7}(?:\.\d{1,4})?", re.ASCII)
_MASK = re.compile(r"0x[0-9a-fA-F]{1,16}", re.ASCII)


#: Beyond these a reading is none, whatever the GPU.
_MOST_MHZ, _MOST_WATTS, _MOST_CELSIUS = 10_000, 5_000, 200


def _number(text: str, most: float) -> float | None:
    value = float(text) if _NUMBER.fullmatch(text) else None
    return value if value is not None and value <= most else None


def _owner(rest: str) -> GpuOwner | None:
    words = rest.split(None, 2)
    pid = number(words[0]) if words else None
    if pid is None or len(words) < 2:
        return None
    found = _CONTAINER.search(words[2]) if len(words) > 2 else None
    return GpuOwner(pid, number(words[1]), found[1] if found else "")


def parse(text: str) -> GpuStateFact:
    owners = map(_owner, Lines(text).every("owner"))
    states = (line for line in text.split("\n") if line.startswith("state,"))
    state = [word.strip() for word in next(states, "").split(",")[1:]]
    width = len(_FIELDS.split(",")) + 1
    if len(state) != width:  # a column is missing, and nobody knows which
        state = [""] * width
    return GpuStateFact(
        sm_mhz=_number(state[0], _MOST_MHZ),
        max_sm_mhz=_number(state[1], _MOST_MHZ),
        watts=_number(state[2], _MOST_WATTS),
        utilization=_number(state[3], 100),
        celsius=_number(state[4], _MOST_CELSIUS),
        reasons=int(state[5], 16) if _MASK.fullmatch(state[5]) else None,
        owners=tuple(owner for owner in owners if owner is not None),
    )


GPU_STATE = Fact("gpu-state", always(_SCRIPT), parse)

"""The GPU: there, at its clocks, and not held back."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import each_host
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.inventory.models import Host

#: A GB10 at work runs at 2100 to 2400 MHz; one that is stuck after a crash stays near 700 MHz.
_STUCK_MHZ = 1000.0
_BUSY_PERCENT = 50.0

#: nvml.h, nvmlClocksEventReason*: bits that mean trouble, and one that is normal under load.
_REASONS = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
_POWER_CAP = 0x04


def there(_: Host, facts: Facts) -> Iterator[Finding]:
    gpu = facts[GPU]
    if not gpu.names:
        yield find("GPU001", f"nvidia-smi says: {gpu.error or 'nothing'}")


def clocks(_: Host, facts: Facts) -> Iterator[Finding]:
    state = facts[GPU_STATE]
    if state.sm_mhz is None or state.utilization is None:
        return
    if state.sm_mhz < _STUCK_MHZ and state.utilization > _BUSY_PERCENT:
        watts = f", {state.watts:g} W" if state.watts is not None else ""
        most = f" of {state.max_sm_mhz:g}" if state.max_sm_mhz is not None else ""
        yield find(
            "GPU002",
            f"the GPU runs at {state.sm_mhz:g}{most} MHz at {state.utilization:g} percent "
            f"load{watts}",
        )


def held_back(_: Host, facts: Facts) -> Iterator[Finding]:
    state = facts[GPU_STATE]
    mask = state.reasons or 0
    names = [name for bit, name in _REASONS.items() if mask & bit]
    warm = f" at {state.celsius:g} degrees Celsius" if state.celsius is not None else ""
    if names:
        yield find("GPU003", f"its clocks are held back: {', '.join(names)}{warm}")
    elif mask & _POWER_CAP:
        yield find(
            "GPU003",
            f"its clocks are held back by the power cap{warm}: normal under full load",
            severity=Severity.NOTE,
        )


RULES = each_host(there, clocks, held_back)

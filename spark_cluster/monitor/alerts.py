"""The alerts: what is wrong, for how long it must be so, and the diagnosis that explains it.

Where node_exporter and our exporter both know a number, either will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from spark_cluster.facts.memory import LARGE, LEAST
from spark_cluster.monitor.judgement import STILL_BYTES
from spark_cluster.monitor.power import WORK_WATTS
from spark_cluster.rdma.findings import LOSS_FRACTION

#: Shares of MemTotal, as the doctor's (doctor/memory.py): with a tenth left a Spark that serves is
#: at its edge, at 3 percent or with less than 4 GiB it is about to freeze without an OOM kill.
_LITTLE = 0.10
_CLIFF = 0.03

_AVAILABLE_BYTES = (
    "(max by (host) (node_memory_MemAvailable_bytes)"
    " or max by (host) (spark_cluster_memory_available_bytes))"
)
_TOTAL_BYTES = (
    "(max by (host) (node_memory_MemTotal_bytes) or max by (host) (spark_cluster_memory_bytes))"
)

#: How full the KV cache may be before requests wait for room.
_KV_FULL = 0.95

#: A GB10 at work runs above 2 GHz; one that is stuck after a crash stays near 0.7 (doctor/gpu.py).
_STUCK_HERTZ = 1e9

#: `watch --interval` is ten minutes at most, and a host that hangs holds a reading up.
_READ_SECONDS = 900

_AVAILABLE = (
    "(max by (host) (node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)"
    " or max by (host) (spark_cluster_memory_available_bytes / spark_cluster_memory_bytes))"
)
_FALLING = (
    "(max by (host) (predict_linear(node_memory_MemAvailable_bytes[2m], 120))"
    " or max by (host) (predict_linear(spark_cluster_memory_available_bytes[2m], 120)))"
)

#: The second is the first's name before vLLM 0.12.
_KV = "max by (host, model_name) (vllm:kv_cache_usage_perc or vllm:gpu_cache_usage_perc)"

#: A head that works though no token comes: its GPU, a GB10, computes, or its rails carry something.
_WORKS = " or ".join(
    [
        f"max by (host) (max_over_time({watts}[5m])) >= {WORK_WATTS['GB10']:.0f}"
        for watts in ("DCGM_FI_DEV_POWER_USAGE", "spark_cluster_gpu_power_watts")
    ]
    + [
        f"max by (host) (increase({sent}[5m])) > {STILL_BYTES}"
        for sent in (
            "spark_cluster_rdma_transmit_bytes_total",
            "node_infiniband_port_data_transmitted_bytes_total",
        )
    ]
)


@dataclass(frozen=True)
class Alert:
    """`wait` is Prometheus' `for`. `summary` and `do` may use {{ $labels.host }}. `code` is a
    diagnosis of core/diagnosis.py, empty if there is none."""

    name: str
    expr: str
    wait: str
    severity: Literal["critical", "warning"]
    summary: str
    do: str
    code: str = ""

    def as_rule(self) -> dict[str, Any]:
        """The alert as an entry of a rules file."""
        explain = f" More: spark-cluster explain {self.code}" if self.code else ""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.wait,
            "labels": {"severity": self.severity, **({"code": self.code} if self.code else {})},
            "annotations": {"summary": self.summary, "description": self.do + explain},
        }


ALERTS = (
    Alert(
        "EngineWedged",
        # Prometheus sees no compiler: only the watcher can be sure (monitor/judgement.py).
        "sum by (host, model_name) (increase(vllm:generation_tokens_total[5m])) == 0"
        " and sum by (host, model_name) (min_over_time(vllm:num_requests_running[5m])) > 0"
        f" unless on (host) ({_WORKS})",
        "1m",
        "warning",
        "{{ $labels.host }}: requests run, no token came for five minutes, and nothing shows that "
        "the engine works",
        "A wedge, or kernels that are compiled (up to 36 min after a start), or a long prompt "
        "where nobody reads GPU power and RDMA: this alert cannot tell them apart. Before a "
        "teardown see what the watcher finds: spark-cluster watch.",
        "RDMA015",
    ),
    Alert(
        "WatcherFinding",
        # The watcher has been patient already.
        "max by (condition, host, subject, code)"
        ' (spark_cluster_condition{severity="critical"}) == 1',
        "0s",
        "critical",
        "{{ $labels.host }}: the watcher finds: {{ $labels.condition }}"
        "{{ if $labels.subject }} ({{ $labels.subject }}){{ end }}",
        "What it saw, with numbers: spark-cluster watch, or its journal. "
        "What to do: spark-cluster explain {{ $labels.code }}.",
    ),
    Alert(
        "EngineSilent",
        'up{job="vllm"} == 0 and max_over_time(up{job="vllm"}[30m]) == 1',
        "1m",
        "critical",
        "{{ $labels.host }}: the engine stopped giving its metrics",
        "spark-cluster status shows whether it still runs.",
        "MON005",
    ),
    Alert(
        "RailDown",
        "spark_cluster_rail_up == 0",
        "30s",
        "critical",
        "{{ $labels.host }}: rail {{ $labels.interface }} ({{ $labels.device }}) is down",
        "See whether the peer is on, then what spark-cluster doctor finds; pull no cable while the "
        "hosts run.",
        "RDMA002",
    ),
    Alert(
        "RdmaErrorsGrow",
        'increase(spark_cluster_rdma_counter_total{severity="fail"}[10m]) > 0',
        "0s",
        "critical",
        "{{ $labels.host }} {{ $labels.device }}: {{ $labels.counter }} grew by "
        "{{ $value | humanize }} in ten minutes",
        "Packets were lost or a connection broke: spark-cluster doctor looks at the MTU of both "
        "ends and at PCIe errors.",
        "RDMA012",
    ),
    Alert(
        "RdmaLosses",
        'sum by (host, device) (rate(spark_cluster_rdma_counter_total{loss="yes"}[10m]))'
        " / sum by (host, device) (rate(spark_cluster_rdma_receive_packets_total[10m]))"
        f" > {LOSS_FRACTION}",
        "5m",
        "warning",
        "{{ $labels.host }} {{ $labels.device }}: "
        "{{ $value | humanizePercentage }} of the packets were lost or repeated",
        "Look at the MTU of both ends and at PCIe errors: spark-cluster doctor.",
        "RDMA012",
    ),
    Alert(
        "RdmaNotProved",
        'max by (kind, recipe) (spark_cluster_rdma_verdict{kind=~"socket|partial|degraded"}) == 1',
        "0s",
        "warning",
        "{{ $labels.recipe }}: the newest RDMA verdict is {{ $labels.kind }}",
        "spark-cluster verify-rdma tells why.",
        "RDMA010",
    ),
    Alert(
        "MemoryCliff",
        f"{_AVAILABLE} < {_CLIFF} or"
        f" ({_AVAILABLE} and {_AVAILABLE_BYTES} < {LEAST} and {_TOTAL_BYTES} >= {LARGE})",
        "30s",
        "critical",
        "{{ $labels.host }}: {{ $value | humanizePercentage }} of the memory is left",
        "CPU and GPU share it, and a Spark that runs out freezes: end something now.",
        "HOST011",
    ),
    Alert(
        "MemoryFalls",
        f"{_FALLING} < 0 and {_AVAILABLE} < {_LITTLE}",
        "0s",
        "warning",
        "{{ $labels.host }}: at this rate the memory is gone within two minutes",
        "A load that needs more than there is freezes the host: stop it before.",
        "HOST011",
    ),
    Alert(
        "KvCacheFull",
        f"{_KV} > {_KV_FULL}",
        "5m",
        "warning",
        "{{ $labels.host }}: the KV cache is {{ $value | humanizePercentage }} full",
        "New requests wait and running ones are preempted: send fewer at once, or lower "
        "--max-model-len.",
    ),
    Alert(
        "GpuStuckSlow",
        f"max by (host) (spark_cluster_gpu_sm_clock_hertz) < {_STUCK_HERTZ:.0f}"
        " and max by (host) (spark_cluster_gpu_utilization_ratio) > 0.5",
        "5m",
        "warning",
        "{{ $labels.host }}: the GPU is busy at {{ $value | humanize }}Hz",
        "A GB10 that is stuck after a crash needs its AC and USB-C unplugged for minutes.",
        "GPU002",
    ),
    Alert(
        "HostAway",
        'max by (host) (up{job="node"}) == 0',
        "1m",
        "critical",
        "{{ $labels.host }}: node_exporter does not answer",
        "The host is off, frozen, or not reached from here: spark-cluster status.",
    ),
    Alert(
        "WatcherAway",
        'up{job="watcher"} == 0'
        f" or time() - spark_cluster_read_timestamp_seconds > {_READ_SECONDS}",
        "1m",
        "warning",
        "the watcher on {{ $labels.instance }} is gone, or has not read the hosts for a quarter "
        "of an hour",
        "Without it nobody looks for a wedge, and the alerts on rails, RDMA and the GPU's clock "
        "are silent. On its machine: spark-cluster watch.",
    ),
)


def rules() -> dict[str, Any]:
    """The content of rules.yml."""
    return {"groups": [{"name": "spark-cluster", "rules": [alert.as_rule() for alert in ALERTS]}]}

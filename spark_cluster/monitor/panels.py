"""The twenty panels of the dashboard `vllm-spark`: title, kind, unit, queries.

`$model` and `$__rate_interval` are Grafana's. Where a metric was renamed between versions of vLLM,
or comes from dcgm-exporter or from ours, a query takes whichever is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stat", "gauge", "timeseries"]

_MODEL = '{model_name=~"$model"}'
_WINDOW = "[$__rate_interval]"


@dataclass(frozen=True)
class Query:
    """PromQL, what a line is called, and its unit if it is not the panel's."""

    expr: str
    legend: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Panel:
    """`unit` is Grafana's name of it. `help` is shown when the pointer rests on the title."""

    title: str
    kind: Kind
    unit: str
    queries: tuple[Query, ...]
    help: str = ""
    maximum: float | None = None


def _rate(metric: str) -> str:
    return f"sum by (host) (rate({metric}{_MODEL}{_WINDOW}))"


def _total_rate(metric: str) -> str:
    return f"sum(rate({metric}{_MODEL}{_WINDOW}))"


def _quantiles(metric: str, *quantiles: float, legend: str = "") -> tuple[Query, ...]:
    """Quantiles of a histogram over all engines that are shown."""
    return tuple(
        Query(
            f"histogram_quantile({quantile}, sum by (le) (rate({metric}_bucket{_MODEL}{_WINDOW})))",
            f"{legend}p{100 * quantile:.0f}",
        )
        for quantile in quantiles
    )


def _mean(metric: str) -> str:
    return f"{_total_rate(f'{metric}_sum')} / {_total_rate(f'{metric}_count')}"


def _either(aggregate: str, *metrics: str) -> str:
    """The first of the metrics that a host has."""
    return " or ".join(f"{aggregate} by (host) ({metric})" for metric in metrics)


def _rdma(direction: str) -> str:
    """Our exporter's bytes, else node_exporter's."""
    ours, node = {
        "sent": ("transmit_bytes", "transmitted_bytes"),
        "received": ("receive_bytes", "received_bytes"),
    }[direction]
    return (
        f"sum by (host, device) (rate(spark_cluster_rdma_{ours}_total{_WINDOW})) or "
        f"sum by (host, device) (rate(node_infiniband_port_data_{node}_total{_WINDOW}))"
    )


_KV = f"(vllm:kv_cache_usage_perc{_MODEL} or vllm:gpu_cache_usage_perc{_MODEL})"
_ITL = (
    "histogram_quantile(0.95, sum by (le) ("
    f"rate(vllm:inter_token_latency_seconds_bucket{_MODEL}{_WINDOW}) or "
    f"rate(vllm:time_per_output_token_seconds_bucket{_MODEL}{_WINDOW})))"
)
_TOKENS = "suffix: tok/s"
_LENGTHS = (0.01, 0.5, 0.95, 0.99)
_LATENCIES = (0.5, 0.95, 0.99)

PANELS = (
    Panel("Requests running", "stat", "short", (Query(f"sum(vllm:num_requests_running{_MODEL})"),)),
    Panel("Requests waiting", "stat", "short", (Query(f"sum(vllm:num_requests_waiting{_MODEL})"),)),
    Panel("KV cache", "gauge", "percentunit", (Query(f"max({_KV})"),), maximum=1.0),
    Panel(
        "Generation throughput",
        "stat",
        _TOKENS,
        (Query(_total_rate("vllm:generation_tokens_total")),),
    ),
    Panel("Prompt throughput", "stat", _TOKENS, (Query(_total_rate("vllm:prompt_tokens_total")),)),
    Panel(
        "Requests",
        "timeseries",
        "short",
        (
            Query(f"sum by (host) (vllm:num_requests_running{_MODEL})", "{{host}} running"),
            Query(f"sum by (host) (vllm:num_requests_waiting{_MODEL})", "{{host}} waiting"),
        ),
    ),
    Panel(
        "KV cache and prefix cache",
        "timeseries",
        "percentunit",
        (
            Query(f"max by (host) ({_KV})", "{{host}} KV cache used"),
            Query(
                f"{_rate('vllm:prefix_cache_hits_total')} / "
                f"({_rate('vllm:prefix_cache_queries_total')} > 0)",
                "{{host}} prefix cache hits",
            ),
        ),
        maximum=1.0,
    ),
    Panel(
        "Token throughput",
        "timeseries",
        _TOKENS,
        (
            Query(_rate("vllm:generation_tokens_total"), "{{host}} generated"),
            Query(_rate("vllm:prompt_tokens_total"), "{{host}} prompt"),
        ),
    ),
    Panel(
        "End-to-end latency",
        "timeseries",
        "s",
        _quantiles("vllm:e2e_request_latency_seconds", *_LATENCIES),
    ),
    Panel(
        "Prefill latency",
        "timeseries",
        "s",
        _quantiles("vllm:request_prefill_time_seconds", *_LATENCIES),
    ),
    Panel(
        "Decode and prefill",
        "timeseries",
        "s",
        (
            Query(_mean("vllm:request_decode_time_seconds"), "decode, mean of a request"),
            Query(_mean("vllm:request_prefill_time_seconds"), "prefill, mean of a request"),
        ),
    ),
    Panel(
        "First token and next tokens",
        "timeseries",
        "s",
        (
            *_quantiles("vllm:time_to_first_token_seconds", 0.95, legend="to the first token "),
            Query(_ITL, "between tokens p95"),
        ),
    ),
    Panel(
        "Prompt length",
        "timeseries",
        "suffix: tokens",
        _quantiles("vllm:request_prompt_tokens", *_LENGTHS),
    ),
    Panel(
        "Completion length",
        "timeseries",
        "suffix: tokens",
        _quantiles("vllm:request_generation_tokens", *_LENGTHS),
    ),
    Panel(
        "GPU utilisation",
        "timeseries",
        "percent",
        (
            Query(
                _either("max", "DCGM_FI_DEV_GPU_UTIL", "100 * spark_cluster_gpu_utilization_ratio"),
                "{{host}}",
            ),
        ),
        "About 96 percent with no request is normal: NCCL polls.",
        maximum=100.0,
    ),
    Panel(
        "GPU power",
        "timeseries",
        "watt",
        (
            Query(
                _either("max", "DCGM_FI_DEV_POWER_USAGE", "spark_cluster_gpu_power_watts"),
                "{{host}}",
            ),
        ),
        "Near 30 W at full utilisation: wedged, or stuck after a crash.",
    ),
    Panel(
        "GPU temperature",
        "timeseries",
        "celsius",
        (
            Query(
                _either("max", "DCGM_FI_DEV_GPU_TEMP", "spark_cluster_gpu_temperature_celsius"),
                "{{host}}",
            ),
        ),
    ),
    Panel(
        "CPU",
        "timeseries",
        "percentunit",
        (
            Query(
                f'1 - avg by (host) (rate(node_cpu_seconds_total{{mode="idle"}}{_WINDOW}))',
                "{{host}}",
            ),
        ),
        maximum=1.0,
    ),
    Panel(
        "Memory",
        "timeseries",
        "percentunit",
        (
            Query(
                "1 - ("
                + _either(
                    "max",
                    "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
                    "spark_cluster_memory_available_bytes / spark_cluster_memory_bytes",
                )
                + ")",
                "{{host}}",
            ),
        ),
        "CPU and GPU share it. Above 97 percent a Spark is about to freeze.",
        maximum=1.0,
    ),
    Panel(
        "Network RDMA",
        "timeseries",
        "Bps",
        (
            Query(_rdma("sent"), "{{host}} {{device}} sent"),
            Query(_rdma("received"), "{{host}} {{device}} received"),
            # soft-RoCE counts packets only.
            Query(
                "sum by (host, device) "
                f"(rate(spark_cluster_rdma_transmit_packets_total{_WINDOW})) unless "
                f"sum by (host, device) (rate(spark_cluster_rdma_transmit_bytes_total{_WINDOW}))",
                "{{host}} {{device}} packets sent",
                "pps",
            ),
        ),
    ),
)

"""Our exporter: facts in, families out; read back through prometheus_client's own text format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from spark_cluster.facts.base import Facts
from spark_cluster.monitoring.config import DCGM, exporter_files
from spark_cluster.runner.last_verdict import LastVerdict
from spark_cluster.serving.metrics import Metrics, read, samples
from spark_cluster.watch.exporter import FACTS, Snapshot, SnapshotCollector
from spark_cluster.watch.families import WatchingCollector
from tests.monitor_files import ALERTS, PANELS, THE_DASHBOARD

from . import world

NOW = 1_800_000_000.0
Labels = Mapping[str, str]


def snapshot(texts: Mapping[str, str] | None = None, **more: object) -> Snapshot:
    hosts: dict[str, Facts | None] = {
        "spark-1": None,
        "spark-2": world.facts("spark-2", texts),
        "spark-3": world.facts("spark-3"),
    }
    return Snapshot(world.inventory(), hosts, NOW - 4, **more)  # type: ignore[arg-type]


def verdict(kind: str, at: float) -> LastVerdict:
    return LastVerdict(kind, None, "", datetime.fromtimestamp(at, UTC), "launch", "m", "run")


def page(given: Snapshot | None) -> dict[str, list[tuple[Labels, float]]]:
    """What a scrape gets: samples by name."""
    collector, registry = SnapshotCollector(lambda: NOW), CollectorRegistry()
    registry.register(collector)
    collector.snapshot = given
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(given: Snapshot, name: str, **labels: str) -> float:
    """The one sample with these labels among its own."""
    rows = [v for own, v in page(given)[f"spark_cluster_{name}"] if labels.items() <= own.items()]
    assert len(rows) == 1, (name, labels, rows)
    return rows[0]


def test_without_a_snapshot_there_is_nothing() -> None:
    assert page(None) == {}


def test_hosts_memory_and_swap() -> None:
    swap = "Filename Type Size Used Priority\n/swap.img file 1024 0 -2\n\n"
    given = snapshot({"swap": swap})
    assert value(given, "host_up", host="spark-1") == 0
    assert value(given, "host_up", host="spark-2") == 1
    assert value(given, "read_timestamp_seconds") == NOW - 4
    assert value(given, "memory_bytes", host="spark-2") == 125513676 * 1024
    assert value(given, "memory_available_bytes", host="spark-2") == 121563244 * 1024
    assert value(given, "swap_bytes", host="spark-2") == 1024 * 1024
    assert value(given, "swap_bytes", host="spark-3") == 0


@pytest.mark.parametrize(
    ("fact", "old", "new", "up"),
    [
        ("links", "", "", 1),
        ("links", '"UP","LOWER_UP"],"mtu":9000', '"UP"],"mtu":9000', 0),
        ("links", '"ifname":"enp1s0f1np1"', '"ifname":"other"', 0),
        ("counters", "rocep1s0f1/ports/1/state:4: ACTIVE", "rocep1s0f1/ports/1/state:1: DOWN", 0),
        ("counters", "present-device:rocep1s0f1", "missing-device:rocep1s0f1", 0),
    ],
)
def test_a_rail_is_up_only_with_carrier_and_port(fact: str, old: str, new: str, up: int) -> None:
    text = world.healthy(fact, "spark-2")
    assert old in text
    given = snapshot({fact: text.replace(old, new)})
    assert value(given, "rail_up", host="spark-2", interface="enp1s0f1np1") == up


@pytest.mark.parametrize("fact", ["links", "counters"])
def test_a_rail_that_was_not_read_is_not_told(fact: str) -> None:
    given = snapshot({fact: ""})
    rows = page(given)["spark_cluster_rail_up"]
    assert {labels["host"] for labels, _ in rows} == {"spark-3"}


def test_mlx5_counts_bytes_and_every_hw_counter_is_there() -> None:
    text = (world.DATA / "rdma/mlx5-spark.txt").read_text()
    given = snapshot({"counters": text})
    rows = [
        (labels, number)
        for labels, number in page(given)["spark_cluster_rdma_counter_total"]
        if (labels["host"], labels["device"]) == ("spark-2", "rocep1s0f1")
    ]
    files = [line for line in text.splitlines() if "/rocep1s0f1/ports/1/" in line]
    wanted = {line.split("/")[-1].split(":")[0] for line in files if "counters/" in line}
    assert {labels["counter"] for labels, _ in rows} == wanted - {"lifespan"}
    kinds = {labels["counter"]: (labels["severity"], labels["loss"]) for labels, _ in rows}
    assert kinds["packet_seq_err"] == ("fail", "no")
    assert kinds["out_of_sequence"] == ("warn", "yes")
    assert kinds["req_cqe_flush_error"] == ("benign", "no")
    assert kinds["port_xmit_data"] == ("none", "no")
    units = next(line for line in files if "counters/port_xmit_data:" in line).rpartition(":")[2]
    sent = value(given, "rdma_transmit_bytes_total", host="spark-2", device="rocep1s0f1")
    assert sent == 4 * int(units)


def test_rxe_counts_packets_only() -> None:
    text = (world.DATA / "rdma/rxe.txt").read_text()
    found = page(snapshot({"counters": text}))
    of_bytes = {labels["host"] for labels, _ in found["spark_cluster_rdma_transmit_bytes_total"]}
    packets = {labels["host"] for labels, _ in found["spark_cluster_rdma_transmit_packets_total"]}
    assert of_bytes == {"spark-3"}
    assert "spark-2" in packets


def test_the_gpu_in_base_units_and_na_is_left_out() -> None:
    given = snapshot({"gpu-state": "state,2106, 3003, 61.2, 96, [N/A], 0x04\n"})
    assert value(given, "gpu_sm_clock_hertz", host="spark-2") == 2.106e9
    assert value(given, "gpu_power_watts", host="spark-2") == 61.2
    assert value(given, "gpu_utilization_ratio", host="spark-2") == 0.96
    assert value(given, "gpu_clock_reasons", host="spark-2") == 4
    assert "spark_cluster_gpu_temperature_celsius" not in page(given)


@pytest.mark.parametrize("name", ["metrics-0.10.txt", "metrics-0.32-tp2.txt"])
def test_the_engine_has_one_set_of_names_in_every_version(name: str) -> None:
    metrics = read((world.DATA / "vllm" / name).read_text())
    given = snapshot(engines={"spark-2": metrics})
    assert value(given, "engine_up", host="spark-2") == 1
    assert value(given, "engine_kv_cache_usage_ratio") == metrics.kv_cache_usage
    assert value(given, "engine_generation_tokens_total") == metrics.generation_tokens
    summaries = {name for name in page(given) if "_seconds_" in name and "engine" in name}
    if name == "metrics-0.10.txt":  # that page has an infinite count
        assert summaries == set()
        return
    assert value(given, "engine_time_to_first_token_seconds_sum") == metrics.ttft_sum
    assert value(given, "engine_inter_token_latency_seconds_count") == metrics.itl_count


def test_an_engine_that_does_not_answer() -> None:
    found = page(snapshot(engines={"spark-2": Metrics(error="HTTP 503")}))
    assert found["spark_cluster_engine_up"] == [({"host": "spark-2"}, 0)]
    assert not [name for name in found if name.startswith("spark_cluster_engine_requests")]


def test_the_verdict_and_its_age() -> None:
    given = snapshot(verdict=verdict("socket", NOW - 90))
    assert value(given, "rdma_verdict", kind="socket", recipe="m") == 1
    assert value(given, "rdma_verdict", kind="rdma", recipe="m") == 0
    assert value(given, "rdma_verdict_age_seconds", recipe="m") == 90
    assert "spark_cluster_rdma_verdict" not in page(snapshot())


#: node_exporter's own names, version 1.9.1: collectors cpu, meminfo, infiniband.
NODE = {
    "node_cpu_seconds_total", "node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes",
    "node_infiniband_port_data_received_bytes_total",
    "node_infiniband_port_data_transmitted_bytes_total",
}  # fmt: skip


def exported() -> set[str]:
    """The metrics of our exporter, dcgm-exporter as we set it up, node_exporter, and vLLM's pages;
    those were recorded without the buckets of their histograms."""
    ours = page(
        snapshot(
            {
                "counters": (world.DATA / "rdma/rxe.txt").read_text(),
                "gpu-state": "state,2106, 3003, 61.2, 96, 64, 0x04\n",
            },
            verdict=verdict("rdma", NOW),
        )
    )
    watcher = {f"{one.name}_total" if one.type == "counter" else one.name
               for one in WatchingCollector().collect()}  # fmt: skip
    engine = {
        one.name
        for path in (world.DATA / "vllm").glob("metrics-*.txt")
        for one in samples(path.read_text())
    }
    buckets = {f"{name.removesuffix('_count')}_bucket" for name in engine if "_count" in name}
    dcgm = {line.partition(",")[0] for line in exporter_files(dcgm=True)[DCGM].splitlines()}
    return {*ours, *watcher, *engine, *buckets, *dcgm, *NODE}


def test_every_metric_of_a_panel_and_an_alert_is_one_that_is_exported() -> None:
    """A misspelt metric would only ever be an empty graph, or an alert that never fires."""
    queries = [query for panel in PANELS for query in panel.queries]
    queries += [alert.expr for alert in ALERTS]
    queries += [note.expr for note in THE_DASHBOARD.annotations.list]
    pattern = r"\b(?:vllm:|node_|spark_cluster_|DCGM_)\w+"
    named = {name for query in queries for name in re.findall(pattern, query)}
    assert len(named) > 25
    assert named <= exported()


def test_facts_that_were_not_read_are_left_out() -> None:
    nothing = Snapshot(world.inventory(), {"spark-2": Facts()}, NOW)
    assert set(page(nothing)) == {
        f"spark_cluster_{name}" for name in ("build_info", "read_timestamp_seconds", "host_up")
    }


def test_it_reads_what_it_says_it_reads() -> None:
    every = world.facts("spark-2")
    only = Facts({fact.name: every[fact] for fact in FACTS})
    one = Snapshot(world.inventory(), {"spark-2": every}, NOW)
    other = Snapshot(world.inventory(), {"spark-2": only}, NOW)
    assert page(one) == page(other)

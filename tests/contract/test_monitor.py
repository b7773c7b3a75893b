"""The monitoring's configuration in the real programs: promtool, Prometheus and node_exporter of
Debian, the engine's stand-in, and our exporter.

What stands in: the engine for vLLM, recorded facts for RDMA and the GPU, a page made by hand for
dcgm-exporter (monitor/README.md), and 1 s between two scrapes for 10 s.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import math
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from spark_cluster.core.finding import Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.rdma import COUNTERS
from spark_cluster.lab.requirements import find_program
from spark_cluster.monitoring import config
from spark_cluster.monitoring.stack import NODE_EXPORTER
from spark_cluster.monitoring.targets import Target, Targets
from spark_cluster.runner.last_verdict import LastVerdict
from spark_cluster.watch.detector import Condition
from spark_cluster.watch.exporter import Snapshot, SnapshotCollector
from spark_cluster.watch.families import Watching, WatchingCollector
from tests.monitor_files import ALERTS, PANELS, RULES, Panel
from tests.unit import world
from tests.unit.test_engine_standin_cluster import BIN, MODEL, Cluster, free_port, until

pytestmark = pytest.mark.contract

DATA = Path(__file__).parent / "monitor"
PROGRAMS = ("prometheus", "promtool", "prometheus-node-exporter")


@pytest.fixture(scope="session")
def programs() -> dict[str, str]:
    """Debian's programs by their names."""
    found = {name: find_program(name) for name in PROGRAMS}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        pytest.skip(
            f"no {', '.join(missing)} on this machine "
            "(apt-get install prometheus prometheus-node-exporter)"
        )
    return {name: path for name, path in found.items() if path is not None}


def written(folder: Path, targets: Targets) -> Path:
    """The files of the host with Prometheus, below `folder`; the path of prometheus.yml."""
    for path, text in config.server_files(targets, grafana=True).items():
        here = folder / Path(path).relative_to(config.FOLDER)
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_text(text)
    return folder / "prometheus.yml"


def promtool(programs: dict[str, str], *words: str, folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [programs["promtool"], *words], cwd=folder, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


# The files


def test_promtool_accepts_the_configuration_and_the_rules(
    programs: dict[str, str], tmp_path: Path
) -> None:
    target = (Target("127.0.0.1:1", (("host", "spark-1"),)),)
    written(tmp_path, Targets({"vllm": target, "node": target, "dcgm": (), "watcher": target}))
    status, said = promtool(programs, "check", "config", "prometheus.yml", folder=tmp_path)
    assert status == 0, said
    assert "1 rule files found" in said
    for rules in ("rules.yml", str(RULES)):  # the host's file, and the very one that is shipped
        status, said = promtool(programs, "check", "rules", rules, folder=tmp_path)
        assert status == 0, said
        assert f"{len(ALERTS)} rules found" in said


def with_first_expression(expr: str) -> str:
    """The rules, but for the first alert's expression."""
    content = yaml.safe_load(RULES.read_text())
    content["groups"][0]["rules"][0]["expr"] = expr
    return yaml.safe_dump(content, width=1000)


def test_promtool_refuses_a_broken_rule(programs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(with_first_expression(f"{ALERTS[0].expr} and ("))
    assert promtool(programs, "check", "rules", "rules.yml", folder=tmp_path)[0] != 0


def test_promtool_parses_every_query_of_every_panel(
    programs: dict[str, str], tmp_path: Path
) -> None:
    queries = [query for panel in PANELS for query in panel.queries]
    recorded = [{"record": f"query:{at}", "expr": promql(q)} for at, q in enumerate(queries)]
    for rules, accepted in ((recorded, True), ([{"record": "a", "expr": "sum("}], False)):
        content = {"groups": [{"name": "panels", "rules": rules}]}
        (tmp_path / "panels.yml").write_text(yaml.safe_dump(content, width=1000))
        status, said = promtool(programs, "check", "rules", "panels.yml", folder=tmp_path)
        assert (status == 0) == accepted, said


def alerts_tested(programs: dict[str, str], folder: Path, rules: str) -> int:
    shutil.copy(DATA / "alerts.yaml", folder)
    (folder / "rules.yml").write_text(rules)
    status, said = promtool(programs, "test", "rules", "alerts.yaml", folder=folder)
    print(said)
    return status


def test_each_alert_is_raised_by_its_fault_and_by_nothing_else(
    programs: dict[str, str], tmp_path: Path
) -> None:
    assert alerts_tested(programs, tmp_path, RULES.read_text()) == 0


def test_every_alert_is_expected_somewhere_and_one_that_never_comes_is_noticed(
    programs: dict[str, str], tmp_path: Path
) -> None:
    raised: set[str] = set()
    for test in yaml.safe_load((DATA / "alerts.yaml").read_text())["tests"]:
        raised |= {t["alertname"] for t in test.get("alert_rule_test", ()) if t["exp_alerts"]}
        samples = [s for t in test.get("promql_expr_test", ()) for s in t["exp_samples"]]
        raised |= {re.search(r'alertname="(\w+)"', s["labels"])[1] for s in samples}  # type: ignore[index]
    assert raised == {alert.alert for alert in ALERTS}
    assert alerts_tested(programs, tmp_path, with_first_expression("vector(0) > 1")) != 0


# The panels, through Prometheus


class Page(http.server.BaseHTTPRequestHandler):
    """The made page of dcgm-exporter."""

    def do_GET(self) -> None:
        body = (DATA / "dcgm.prom").read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Prometheus:
    """Debian's Prometheus with our files, on a free port."""

    def __init__(self, programs: dict[str, str], folder: Path, targets: Targets) -> None:
        path = written(folder, targets)
        content = yaml.safe_load(path.read_text())
        content["global"] |= dict.fromkeys(
            ("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s"
        )
        path.write_text(yaml.safe_dump(content))
        self.port = free_port()
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [
                programs["prometheus"],
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def get(self, path: str) -> Any:
        """What the API answers; None while it does not."""
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        return None

    def values(self, query: str) -> list[float]:
        """The numbers of an instant query; NaN is none."""
        answer = self.get("query?" + urllib.parse.urlencode({"query": query}))
        numbers = [float(row["value"][1]) for row in answer["result"]] if answer else []
        return [number for number in numbers if not math.isnan(number)]

    def health(self) -> dict[str, set[str]]:
        """The health of each job's targets."""
        found: dict[str, set[str]] = {}
        for target in (self.get("targets") or {}).get("activeTargets", ()):
            found.setdefault(target["labels"]["job"], set()).add(target["health"])
        return found

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self._log.close()


def recorded(name: str) -> Facts:
    """A host's facts: a busy Spark with mlx5, its GPU at work."""
    texts = {
        "counters": (world.DATA / "rdma/mlx5-spark.txt").read_text(),
        "gpu-state": "state,2106, 3003, 61.2, 96, 64, 0x0000000000000000\n",
    }
    return world.facts(name, texts)


def moving(facts: Facts, seconds: float) -> Facts:
    """The facts after that time, RDMA at 1 GB/s each way."""
    reading = facts[COUNTERS]
    grown = round(seconds * 1e9)
    devices = {
        name: replace(
            device,
            xmit_bytes=(device.xmit_bytes or 0) + grown,
            rcv_bytes=(device.rcv_bytes or 0) + grown,
        )
        for name, device in reading.devices.items()
    }
    return facts.updated(Facts({COUNTERS.name: replace(reading, devices=devices)}))


@pytest.fixture(scope="module")
def scraped(
    programs: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus after some scrapes of a cluster that works."""
    folder = tmp_path_factory.mktemp("monitor")
    with contextlib.ExitStack() as stack:
        engine = Cluster(folder)
        stack.callback(engine.close)
        command = [str(BIN / "vllm"), "serve", MODEL, "--host", "127.0.0.1"]
        engine.start("vllm", [*command, "--port", str(engine.api)], "127.0.0.1")

        node_port = free_port()
        node = subprocess.Popen(
            [
                programs["prometheus-node-exporter"],
                *(
                    word.replace(f"=:{NODE_EXPORTER.port}", f"=127.0.0.1:{node_port}")
                    for word in NODE_EXPORTER.arguments
                ),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(node.wait, 20)
        stack.callback(node.terminate)

        dcgm = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page))
        threading.Thread(target=dcgm.serve_forever, daemon=True).start()
        stack.callback(dcgm.shutdown)

        collector, registry = SnapshotCollector(), CollectorRegistry()
        registry.register(collector)
        findings = WatchingCollector()
        doubt = Condition(
            "wedge", "spark-3", "", "RDMA015", Severity.WARNING, "it may compile", 0.0
        )
        findings.watching = Watching((doubt,))
        registry.register(findings)
        watcher, _ = start_http_server(0, "127.0.0.1", registry)
        stack.callback(watcher.server_close)
        stack.callback(watcher.shutdown)

        labels = (("host", "spark-2"),)
        targets = Targets(
            {
                "vllm": (Target(f"127.0.0.1:{engine.api}", labels),),
                "node": (Target(f"127.0.0.1:{node_port}", labels),),
                "dcgm": (Target(f"127.0.0.1:{dcgm.server_address[1]}", labels),),
                "watcher": (Target(f"127.0.0.1:{watcher.server_address[1]}"),),
            }
        )
        begun, facts = time.monotonic(), {name: recorded(name) for name in world.PAIR}

        def watch() -> None:
            now, past = time.monotonic() - begun, datetime.now(UTC) - timedelta(seconds=60)
            hosts = {name: moving(known, now) for name, known in facts.items()}
            verdict = LastVerdict("rdma", None, "", past, "launch", world.RECIPE, "run")
            collector.snapshot = Snapshot(
                world.inventory(), {**hosts, "spark-1": None}, time.time(), {}, verdict
            )

        watch()
        engine.serving()
        prometheus = Prometheus(programs, folder, targets)
        stack.callback(prometheus.close)

        def work() -> bool:
            """One request, one reading; whether every job was scraped while it worked."""
            watch()
            body = {"prompt": "Count upwards from one:", "max_tokens": 16, "ignore_eos": True}
            assert (engine.ask("/v1/completions", body) or (0, b""))[0] == 200
            if prometheus.health() != {job: {"up"} for job in targets.jobs}:
                return False
            done = prometheus.values("count_over_time(vllm:generation_tokens_total[1m])")
            return bool(done) and done[0] >= 5

        until(work, "five scrapes of every job")
        yield prometheus


def promql(expr: str) -> str:
    """The query without what only Grafana knows."""
    return expr.replace("$__rate_interval", "30s").replace("$model", ".*")


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_each_panel_has_data(scraped: Prometheus, panel: Panel) -> None:
    found = {query: scraped.values(promql(query)) for query in panel.queries}
    if panel.title == "Network RDMA":  # its third query is soft-RoCE's
        assert found.pop(panel.queries[2]) == []
    assert all(found.values()), found
    for numbers in found.values():
        assert all(number >= 0 for number in numbers)
        if panel.fields.defaults.max is not None:
            assert all(number <= panel.fields.defaults.max for number in numbers)


def test_the_numbers_are_those_of_the_sources(scraped: Prometheus) -> None:
    by_title = {panel.title: panel for panel in PANELS}

    def first(title: str) -> list[float]:
        return scraped.values(promql(by_title[title].queries[0]))

    assert first("GPU power") == [61.235, 61.2]  # spark-2 by dcgm-exporter, spark-3 by ours
    assert first("GPU temperature") == [64.0, 64.0]
    rates = first("Network RDMA")  # the counters stand still since the last reading
    assert rates
    assert all(0 < rate < 1.2e9 for rate in rates)
    assert first("Generation throughput")[0] > 0
    memory = scraped.values(promql(by_title["Memory"].queries[0]))
    assert len(memory) == 2  # node_exporter's for spark-2, ours for spark-3


def test_node_exporter_does_not_ask_systemd_for_every_unit(scraped: Prometheus) -> None:
    successes = "node_scrape_collector_success"
    assert scraped.values(f'{successes}{{collector="netclass"}}') == [1]
    assert scraped.values(f'{successes}{{collector="systemd"}}') == []


def test_nothing_is_alerted_of_but_the_host_that_is_away(scraped: Prometheus) -> None:
    alerts = (scraped.get("alerts") or {})["alerts"]
    assert {alert["labels"]["alertname"] for alert in alerts} <= {"MemoryFalls", "MemoryCliff"}
    assert scraped.values('spark_cluster_host_up{host="spark-1"}') == [0.0]


def test_every_metric_of_a_panel_and_an_alert_is_known(scraped: Prometheus) -> None:
    """A misspelt metric would only ever be an empty graph, or an alert that never fires."""
    known = set(scraped.get("label/__name__/values") or ())
    older = {
        "vllm:gpu_cache_usage_perc",  # before 0.12
        "node_infiniband_port_data_transmitted_bytes_total",  # needs an mlx5 device
        "node_infiniband_port_data_received_bytes_total",
    }
    texts = [query for panel in PANELS for query in panel.queries]
    texts += [alert.expr for alert in ALERTS]
    pattern = r"\b(?:vllm:|node_|spark_cluster_|DCGM_)\w+"
    named = {name for text in texts for name in re.findall(pattern, text)}
    assert len(named) > 25
    assert named - older <= known

"""The monitoring's files and programs: targets from the inventory, rules, panels, containers."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.labels import LABEL
from spark_cluster.core.shell import ASK_DOCKER
from spark_cluster.doctor import gpu, memory
from spark_cluster.facts.docker import NO_ANSWER
from spark_cluster.facts.memory import LARGE, LEAST
from spark_cluster.facts.monitor import (
    MONITOR,
    SCRAPED,
    MonitorFact,
    parse,
    parse_scraped,
)
from spark_cluster.facts.services import parse as parse_services
from spark_cluster.inventory.models import Inventory
from spark_cluster.monitoring import config, ports, stack
from spark_cluster.monitoring.targets import Target, Targets, from_outside, targets, way
from spark_cluster.rdma.findings import LOSS_FRACTION
from spark_cluster.steps import monitor
from spark_cluster.watch.detector import STILL_BYTES
from spark_cluster.watch.power import WORK_WATTS
from tests.monitor_files import ALERTS, DASHBOARD, FOLDER, PANELS, RULES, THE_DASHBOARD

from . import world

#: `group` and `api` beside hosts with and without a way to each other.
LAB = Inventory.model_validate(
    {
        "hosts": {
            "spark-1": {"address": "127.0.0.1", "port": 2201},
            "spark-2": {
                "address": "127.0.0.1",
                "port": 2202,
                "links": [{"interface": "enP7s7", "address": "192.168.102.11/24"}],
            },
            "spark-4": {"address": "10.0.0.4"},
        }
    }
)

#: A node_exporter that somebody else runs.
OWN_EXPORTER = 'LISTEN 0 4096 *:9100 *:* users:(("node_exporter",pid=7,fd=3))\n'


# Targets


@pytest.mark.parametrize(
    ("source", "host", "address"),
    [
        ("spark-1", "spark-1", "127.0.0.1"),
        ("spark-1", "spark-2", "192.168.102.11"),  # the 10GbE network in common
        ("spark-2", "spark-3", "192.168.100.11"),  # the first rail in common
        ("spark-1", "spark-3", "spark-3"),  # nothing in common: the name that SSH uses
    ],
)
def test_the_way_from_host_to_host(source: str, host: str, address: str) -> None:
    assert way(world.inventory(), source, host) == address


def test_an_address_of_the_machine_itself_is_no_way() -> None:
    found = targets(LAB, "spark-2", engine_port=8000)
    assert found.unreached == ("spark-1",)
    assert found.by_name == ()
    assert [t.address for t in found.jobs["node"]] == ["127.0.0.1:9100", "10.0.0.4:9100"]
    assert from_outside(LAB, "spark-2") == "192.168.102.11"
    assert from_outside(LAB, "spark-1") == "127.0.0.1"
    assert from_outside(LAB, "spark-4") == "10.0.0.4"


def test_targets_of_the_shipped_inventory() -> None:
    found = targets(world.inventory(), "spark-2", engine_port=8001, dcgm=["spark-3"])
    # After a failover any host may be the head.
    assert [dict(t.labels)["host"] for t in found.jobs["vllm"]] == list(world.inventory().hosts)
    assert Target("127.0.0.1:8001", (("host", "spark-2"), ("group", "pair"))) in found.jobs["vllm"]
    assert [dict(t.labels)["host"] for t in found.jobs["node"]] == list(world.inventory().hosts)
    assert [t.address for t in found.jobs["dcgm"]] == ["192.168.100.11:9400"]
    assert found.jobs["watcher"] == (Target(f"127.0.0.1:{ports.WATCHER}"),)
    other = targets(world.inventory(), "spark-1", engine_port=8000, watcher="10.1.1.1:9999")
    assert other.jobs["watcher"] == (Target("10.1.1.1:9999"),)
    assert other.by_name == ("spark-3",)


@pytest.mark.parametrize(
    ("without", "texts", "seen", "hosts"),
    [
        ((), {}, (), ["spark-2", "spark-3"]),  # spark-1 is not part of the run
        ((), {}, ("spark-1",), ["spark-1", "spark-2", "spark-3"]),
        (("node-exporter",), {}, ("spark-3",), []),
        (("node-exporter",), {"spark-3": {"ports": OWN_EXPORTER}}, (), ["spark-3"]),
    ],
)
def test_node_exporters_are_scraped_where_they_are(
    without: tuple[monitor.Name, ...],
    texts: dict[str, dict[str, str]],
    seen: tuple[str, ...],
    hosts: list[str],
) -> None:
    rows = [{"labels": {"job": "node", "host": name}, "health": "down"} for name in seen]
    said = json.dumps({"data": {"activeTargets": rows}}) + "\n"
    view = world.view("spark-2", {"spark-2": {"scraped": said}, **texts})
    found = monitor.scraped(view, monitor.Params(host="spark-2", without=without))
    assert [dict(t.labels)["host"] for t in found.jobs["node"]] == hosts


def test_a_file_of_targets_is_what_file_sd_reads() -> None:
    found = targets(world.inventory(), "spark-2", engine_port=8000)
    files = config.server_files(found, grafana=True)
    rows = json.loads(files[config.target_file("node")])
    assert rows[0] == {"targets": ["192.168.102.10:9100"], "labels": {"host": "spark-1"}}
    jobs = yaml.safe_load(files[config.PROMETHEUS])["scrape_configs"]
    for job in jobs:
        (entry,) = job["file_sd_configs"]
        assert f"{config.FOLDER}/{entry['files'][0]}" in files
    assert [job["job_name"] for job in jobs] == list(found.jobs)
    assert [job["job_name"] for job in jobs if job.get("honor_labels")] == ["watcher"]


def test_the_files_of_grafana_name_prometheus_and_the_dashboards_folder() -> None:
    files = config.server_files(Targets({}), grafana=True)
    (source,) = yaml.safe_load(files[config.DATASOURCE])["datasources"]
    assert source["url"] == f"http://127.0.0.1:{ports.PROMETHEUS}"
    every = yaml.safe_load(files[config.PROMETHEUS])["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == every
    (provider,) = yaml.safe_load(files[config.PROVIDER])["providers"]
    assert config.DASHBOARD.startswith(f"{provider['options']['path']}/")


# Rules and panels


def test_the_alerts_are_explained() -> None:
    assert len({alert.alert for alert in ALERTS}) == len(ALERTS)
    for alert in ALERTS:
        code, said = alert.labels.code, alert.annotations.description
        assert not code or code in DIAGNOSES
        more = f" More: spark-cluster explain {code}" if code else ""
        assert said.endswith(more)
        assert said.removesuffix(more).endswith(".")
        assert ("spark-cluster explain" in said.removesuffix(more)) == ("$labels.code" in said)


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("EngineWedged", [0, 0, *[WORK_WATTS["GB10"]] * 2, *[STILL_BYTES] * 2]),
        ("RdmaLosses", [LOSS_FRACTION]),
        ("MemoryCliff", [memory._ALARM, LEAST, LARGE]),
        ("MemoryFalls", [0, memory._LITTLE]),
        ("GpuStuckSlow", [gpu._STUCK_MHZ * 1e6, gpu._BUSY_PERCENT / 100]),
    ],
)
def test_the_bounds_of_an_alert_are_those_of_the_program(name: str, bounds: list[float]) -> None:
    (expr,) = [alert.expr for alert in ALERTS if alert.alert == name]
    assert [float(number) for number in re.findall(r"[<>=]=? ([\d.]+)", expr)] == bounds


def test_a_host_gets_the_files_that_are_shipped() -> None:
    files = config.server_files(Targets({}), grafana=False)
    head, _, rules = files[config.RULES].partition("\n")
    assert head.startswith("# Written by `spark-cluster monitor up`")
    assert rules == RULES.read_text(encoding="utf-8")
    assert files[config.DASHBOARD] == DASHBOARD.read_text(encoding="utf-8")
    assert files[config.PROMETHEUS] == f"{head}\n{(FOLDER / 'prometheus.yml').read_text()}"


def test_the_document_lists_every_alert_and_panel() -> None:
    text = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    for alert in ALERTS:
        severity, code = alert.labels.severity, alert.labels.code or "-"
        assert re.search(rf"^\| {alert.alert} \|.*\| {severity} \| {code} \|$", text, re.M)
    for panel in PANELS:
        assert panel.title in text
    for service in stack.SERVICES:
        assert service.image in text
        assert str(service.port) in text


def test_the_dashboard_is_that_of_the_seeds() -> None:
    assert THE_DASHBOARD.uid == config.UID == "vllm-spark"
    assert len(PANELS) == 20
    assert len({panel.title for panel in PANELS}) == 20
    assert {panel.id for panel in PANELS} == set(range(1, 21))


def test_the_variables_of_the_queries_are_those_of_the_dashboard() -> None:
    names = {variable.name for variable in THE_DASHBOARD.templating.list}
    assert names == {"datasource", "model"}
    queries = [query for panel in PANELS for query in panel.queries]
    used = {name for query in queries for name in re.findall(r"\$\{?(\w+)", query)}
    assert used == {"model", "__rate_interval"}


def test_each_panel_names_its_queries_once_and_has_the_options_of_its_kind() -> None:
    for panel in PANELS:
        refs = [target.ref for target in panel.targets]
        assert len(set(refs)) == len(refs)
        assert {override.matcher.options for override in panel.fields.overrides} <= set(refs)
        assert hasattr(panel.options, "legend") == (panel.type == "timeseries")


def test_no_panel_lies_over_another() -> None:
    cells: Counter[tuple[int, int]] = Counter()
    for panel in PANELS:
        place = panel.place
        assert place.x + place.w <= 24
        cells.update(
            (x, y)
            for x in range(place.x, place.x + place.w)
            for y in range(place.y, place.y + place.h)
        )
    assert set(cells.values()) == {1}


def test_every_query_takes_its_model_and_window_from_grafana() -> None:
    """Its data source, too: tests/monitor_files.py knows no other."""
    for query in (query for panel in PANELS for query in panel.queries):
        assert "rate(" not in query or "[$__rate_interval]" in query
        if "vllm:" in query:
            assert 'model_name=~"$model"' in query


# Programs


def test_a_container_of_ours_is_none_of_a_launch() -> None:
    for service in stack.SERVICES:
        words = shlex.split(stack.docker_run(service, "0123456789ab"))
        labels = [words[at + 1] for at, word in enumerate(words) if word == "--label"]
        assert f"{LABEL}.monitor={service.name}" in labels
        assert not [label for label in labels if label.startswith(f"{LABEL}.recipe")]
        assert words[words.index("--memory") + 1] == service.memory
        assert ("--gpus" in words) == service.gpus
        assert ":latest" not in service.image


def test_a_unit_and_a_container_have_the_same_arguments() -> None:
    for service in stack.SERVICES:
        if service.program:
            unit = stack.unit(service, "0123456789ab")
            command = next(li for li in unit.splitlines() if li.startswith("ExecStart="))
            assert command == f"ExecStart=/usr/bin/{service.program} {' '.join(service.arguments)}"
            assert " ".join(service.arguments) in stack.docker_run(service, "0123456789ab")


def test_the_digest_names_the_program_and_the_files_it_reads_at_its_start() -> None:
    files = config.server_files(Targets({"node": ()}), grafana=True)
    one = stack.digest(stack.PROMETHEUS, files)
    assert one == stack.digest(stack.PROMETHEUS, dict(files))
    assert one != stack.digest(stack.PROMETHEUS, {**files, config.RULES: "groups: []\n"})
    assert one == stack.digest(stack.PROMETHEUS, {**files, config.target_file("node"): "[1]\n"})
    newer = replace(stack.PROMETHEUS, image="docker.io/prom/prometheus:v9")
    assert one != stack.digest(newer, files)


def test_without_images_there_is_what_debian_has() -> None:
    names = [service.name for service in stack.chosen("packages", is_server=True)]
    assert names == ["prometheus", "node-exporter"]
    assert [s.name for s in stack.chosen("images", is_server=False)] == [
        "node-exporter",
        "dcgm-exporter",
    ]
    assert len(stack.chosen("images", is_server=True)) == 4


# Facts


def test_the_fact_of_a_host() -> None:
    fact = parse(
        "file aa  /etc/spark-cluster/monitor/prometheus.yml\n"
        "password\n"
        "container prometheus 0123456789ab running\n"
        "container grafana 0123456789ab restarting\n"
        "image docker.io/prom/prometheus:v3.5.0\n"
        "ready prometheus 200\nready grafana 000\n"
        "program prometheus\nunit node-exporter 0123456789ab inactive\n"
    )
    assert fact.files == {"/etc/spark-cluster/monitor/prometheus.yml": "aa"}
    assert fact.runs("prometheus")
    assert fact.runs("grafana")  # started, again and again
    assert not fact.runs("node-exporter")
    assert not fact.runs("dcgm-exporter")
    assert fact.ready == {"prometheus"}
    assert fact.password
    assert not fact.data


@pytest.mark.parametrize(
    ("job", "error", "health"),
    [
        ("vllm", "connection refused", "absent"),
        ("vllm", "context deadline exceeded", "down"),
        ("node", "connection refused", "down"),
    ],
)
def test_a_host_without_an_engine_is_no_target_that_is_down(
    job: str, error: str, health: str
) -> None:
    last = f'Get "http://10.0.0.1:8000/metrics": dial tcp 10.0.0.1:8000: connect: {error}'
    entry = {"labels": {"job": job, "host": "spark-1"}, "health": "down", "lastError": last}
    (target,) = parse_scraped(json.dumps({"data": {"activeTargets": [entry]}})).targets
    assert (target.health, target.error) == (health, last)


@pytest.mark.parametrize(
    ("docker", "error", "silent"),
    [
        ("echo permission denied >&2; exit 1", "permission denied", True),
        ("echo; echo it is broken >&2; exit 1", "it is broken", True),
        ("exec sleep 60", "docker ps gave no answer within 20 s", True),
        ("exit 0", "", False),
        (None, "there is no docker on this host", False),
    ],
)
def test_docker_that_cannot_be_asked_is_told(
    docker: str | None, error: str, silent: bool, tmp_path: Path
) -> None:
    """The fact's own shell, with this docker; the time limit is cut short."""
    for name in ("find", "sed", "grep", "sha256sum", "sleep", "timeout", "sh"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "curl").symlink_to("/bin/true")
    if docker is not None:
        (tmp_path / "docker").write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/asked\n{docker}\n")
        (tmp_path / "docker").chmod(0o755)
    script = MONITOR.script(world.context()).replace(ASK_DOCKER, "timeout -k 2 0.5 docker")
    done = subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True,
        timeout=30, check=True,
    )  # fmt: skip
    fact = parse(done.stdout)
    assert (fact.docker_error, fact.docker_silent) == (error, silent)
    if silent:
        assert (tmp_path / "asked").read_text() == "ps\n"  # and no second time


def test_docker_is_never_asked_without_a_time_limit() -> None:
    script = MONITOR.script(world.context())
    assert script.count("_rows . ps --all") == 1
    assert script.count(f"{ASK_DOCKER} image") == 4
    rest = script.replace(f"{ASK_DOCKER} ", "").replace("command -v docker", "")
    for words in (NO_ANSWER, "there is no docker on this host"):
        rest = rest.replace(words, "")
    assert not re.search(r"\bdocker ", rest)


@given(st.text(alphabet="container ready unit file image password\n 20-/a{}[]\"':", max_size=200))
def test_no_output_breaks_the_parsers(text: str) -> None:
    assert isinstance(parse(text), MonitorFact)
    parse_scraped(text)
    parse_services(text)


@given(st.text(max_size=100))
def test_no_answer_of_prometheus_breaks_the_parser(text: str) -> None:
    for answer in (text, f'{{"data": {text}}}', f'{{"data":{{"activeTargets":[{text}]}}}}'):
        parse_scraped(answer)


def test_the_probe_prints_no_secret() -> None:
    from spark_cluster.facts.base import ProbeContext

    context = ProbeContext(world.inventory().hosts["spark-1"], world.inventory())
    script = MONITOR.script(context) + SCRAPED.script(context)
    assert f"cat {config.PASSWORD}" not in script
    assert f"[ -s {config.PASSWORD} ]" in script

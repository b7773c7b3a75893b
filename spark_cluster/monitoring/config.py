"""The configuration files of Prometheus, Grafana and dcgm-exporter, as texts by their path.

They are files beside this one; only the targets depend on the inventory. The job `watcher` honours
labels, for it speaks for several hosts. dcgm.csv has no framebuffer (a GB10 has none) and no
profiling metrics (they need CAP_SYS_ADMIN).
"""

from __future__ import annotations

import hashlib
import json

from spark_cluster.core.data_files import read_text
from spark_cluster.monitoring.targets import Targets

#: The dashboard's, as in its file: the seeds' name of it, so that links and bookmarks keep working.
UID = "vllm-spark"

#: The files have the same paths on the host and inside the containers.
FOLDER = "/etc/spark-cluster/monitor"
DATA = "/var/lib/spark-cluster/monitor"

PROMETHEUS = f"{FOLDER}/prometheus.yml"
RULES = f"{FOLDER}/rules.yml"
GRAFANA = f"{FOLDER}/grafana"
DATASOURCE = f"{GRAFANA}/provisioning/datasources/spark-cluster.yml"
PROVIDER = f"{GRAFANA}/provisioning/dashboards/spark-cluster.yml"
DASHBOARD = f"{GRAFANA}/dashboards/{UID}.json"
DCGM = f"{FOLDER}/dcgm.csv"

#: Grafana's administrator: made once on the host, kept with Grafana's data.
PASSWORD = f"{DATA}/grafana-admin-password"

_HEAD = "# Written by `spark-cluster monitor up`: changes here are lost with the next one.\n"


def server_files(targets: Targets, *, grafana: bool) -> dict[str, str]:
    """The files of the host with Prometheus and, if `grafana`, Grafana."""
    files = {
        PROMETHEUS: _HEAD + _shipped("prometheus.yml"),
        RULES: _HEAD + _shipped("rules.yml"),
        # Also without Grafana there: to be imported into another one.
        DASHBOARD: _shipped("dashboard.json"),
    }
    for job, entries in targets.jobs.items():
        data = [target.as_dict() for target in entries]
        files[target_file(job)] = json.dumps(data, indent=1) + "\n"
    if grafana:
        files[DATASOURCE] = _HEAD + _shipped("datasource.yml")
        files[PROVIDER] = _HEAD + _shipped("provider.yml")
    return files


def exporter_files(*, dcgm: bool) -> dict[str, str]:
    """The files of every host that is watched."""
    return {DCGM: _HEAD + _shipped("dcgm.csv")} if dcgm else {}


def _shipped(name: str) -> str:
    return read_text("spark_cluster.monitoring", name)


def target_file(job: str) -> str:
    """Where Prometheus finds the targets of `job`; it reads the file again when it changes."""
    return f"{FOLDER}/targets/{job}.json"


def digest(text: str) -> str:
    """Names a file's content: its sha256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()

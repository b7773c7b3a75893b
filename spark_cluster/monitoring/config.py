"""The configuration files of Prometheus, Grafana and dcgm-exporter, as texts by their path.

The alerts (rules.yml) and the dashboard (dashboard.json) are files beside this one; what depends on
the inventory and the ports is made here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import yaml

from spark_cluster.core.data_files import read_text
from spark_cluster.monitoring import ports
from spark_cluster.monitoring.targets import Targets

#: The dashboard's, as in its file: the seeds' name of it, so that links and bookmarks keep working.
UID = "vllm-spark"

#: The files have the same paths on the host and inside the containers.
FOLDER = "/etc/spark-cluster/monitor"
DATA = "/var/lib/spark-cluster/monitor"

PROMETHEUS = f"{FOLDER}/prometheus.yml"
RULES = f"{FOLDER}/rules.yml"
GRAFANA = f"{FOLDER}/grafana"
DASHBOARD = f"{GRAFANA}/dashboards/{UID}.json"
DCGM = f"{FOLDER}/dcgm.csv"

#: Grafana's administrator: made once on the host, kept with Grafana's data.
PASSWORD = f"{DATA}/grafana-admin-password"

#: The data source that is provisioned; the dashboard takes whichever is chosen.
DATASOURCE = "spark-cluster"

_HEAD = "# Written by `spark-cluster monitor up`: changes here are lost with the next one.\n"
_SCRAPE_SECONDS = 10

#: No framebuffer (a GB10 has none) and no profiling metrics (they need CAP_SYS_ADMIN).
_DCGM_FIELDS = (
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization in percent."),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw in W."),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature in C."),
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency in MHz."),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error."),
)


def server_files(targets: Targets, *, grafana: bool) -> dict[str, str]:
    """The files of the host with Prometheus and, if `grafana`, Grafana."""
    files = {
        PROMETHEUS: _yaml(prometheus(targets)),
        RULES: _HEAD + _shipped("rules.yml"),
        # Also without Grafana there: to be imported into another one.
        DASHBOARD: _shipped("dashboard.json"),
    }
    for job, entries in targets.jobs.items():
        data = [target.as_dict() for target in entries]
        files[target_file(job)] = json.dumps(data, indent=1) + "\n"
    if grafana:
        provisioning = f"{GRAFANA}/provisioning"
        files[f"{provisioning}/datasources/spark-cluster.yml"] = _yaml(_datasource())
        files[f"{provisioning}/dashboards/spark-cluster.yml"] = _yaml(_provider())
    return files


def _shipped(name: str) -> str:
    return read_text("spark_cluster.monitoring", name)


def exporter_files(*, dcgm: bool) -> dict[str, str]:
    """The files of every host that is watched."""
    lines = [", ".join(field) for field in _DCGM_FIELDS]
    return {DCGM: _HEAD + "\n".join(lines) + "\n"} if dcgm else {}


def target_file(job: str) -> str:
    """Where Prometheus finds the targets of `job`; it reads the file again when it changes."""
    return f"{FOLDER}/targets/{job}.json"


def prometheus(targets: Targets) -> dict[str, Any]:
    """The content of prometheus.yml."""
    return {
        "global": {
            "scrape_interval": f"{_SCRAPE_SECONDS}s",
            "scrape_timeout": f"{_SCRAPE_SECONDS - 2}s",
            "evaluation_interval": f"{_SCRAPE_SECONDS}s",
        },
        "rule_files": [_relative(RULES)],
        "scrape_configs": [_job(name) for name in targets.jobs],
    }


def _job(name: str) -> dict[str, Any]:
    job: dict[str, Any] = {"job_name": name}
    if name == "watcher":  # It speaks for several hosts: their names are in its own labels.
        job["honor_labels"] = True
    return {**job, "file_sd_configs": [{"files": [_relative(target_file(name))]}]}


def _relative(path: str) -> str:
    """Prometheus takes paths from the folder of prometheus.yml: the folder can be copied."""
    return path.removeprefix(f"{FOLDER}/")


def _datasource() -> dict[str, Any]:
    source = {
        "name": DATASOURCE,
        "uid": DATASOURCE,
        "type": "prometheus",
        "access": "proxy",
        "url": f"http://127.0.0.1:{ports.PROMETHEUS}",
        "isDefault": True,
        "jsonData": {"timeInterval": f"{_SCRAPE_SECONDS}s"},
    }
    return {"apiVersion": 1, "datasources": [source]}


def _provider() -> dict[str, Any]:
    provider = {
        "name": "spark-cluster",
        "type": "file",
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": f"{GRAFANA}/dashboards"},
    }
    return {"apiVersion": 1, "providers": [provider]}


def _yaml(data: Mapping[str, Any]) -> str:
    return _HEAD + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)


def digest(text: str) -> str:
    """Names a file's content: its sha256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()

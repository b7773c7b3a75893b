"""The panels as Grafana's JSON."""

from __future__ import annotations

import string
from typing import Any

from spark_cluster.monitor.panels import PANELS, Panel

#: The seeds' name of it: links and bookmarks keep working.
UID = "vllm-spark"

#: Grafana's grid has 24 columns; a row of single numbers, then two graphs a row.
_COLUMNS = 24
_SIZES = {"stat": (5, 4), "gauge": (4, 4), "timeseries": (12, 8)}

#: Dashboard schema of Grafana 11 and 12.
_SCHEMA = 39

#: What Grafana calls the queries of a panel.
_REFS = string.ascii_uppercase

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard(panels: tuple[Panel, ...] = PANELS) -> dict[str, Any]:
    """The dashboard, ready to be provisioned or imported."""
    return {
        "uid": UID,
        "title": "vLLM on DGX Spark",
        "tags": ["spark-cluster", "vllm"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource_variable(), _model_variable()]},
        "annotations": {"list": [_alerts()]},
        "panels": _laid_out(panels),
    }


def _datasource_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data", "type": "datasource", "query": "prometheus"}


def _model_variable() -> dict[str, Any]:
    query = "label_values(vllm:num_requests_running, model_name)"
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": "models"},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _alerts() -> dict[str, Any]:
    """Alerts that fire, as red lines over the graphs."""
    return {
        "name": "Alerts",
        "enable": True,
        "datasource": _DATASOURCE,
        "expr": 'ALERTS{alertstate="firing"}',
        "titleFormat": "{{alertname}} {{host}}",
        "iconColor": "red",
    }


def _laid_out(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """Left to right, then down."""
    found = []
    x = y = height = 0
    for number, panel in enumerate(panels, start=1):
        width, tall = _SIZES[panel.kind]
        if x + width > _COLUMNS:
            x, y, height = 0, y + height, 0
        found.append(_panel(number, panel, {"x": x, "y": y, "w": width, "h": tall}))
        x, height = x + width, max(height, tall)
    return found


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    return {
        "id": number,
        "title": panel.title,
        "description": panel.help,
        "type": panel.kind,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": _other_units(panel)},
        "options": _options(panel),
        "targets": [
            {
                "refId": _REFS[index],
                "datasource": _DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _other_units(panel: Panel) -> list[dict[str, Any]]:
    return [
        {
            "matcher": {"id": "byFrameRefID", "options": _REFS[index]},
            "properties": [{"id": "unit", "value": query.unit}],
        }
        for index, query in enumerate(panel.queries)
        if query.unit
    ]


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi"},
        }
    return {"reduceOptions": {"calcs": ["lastNotNull"]}}

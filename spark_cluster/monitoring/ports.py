"""The TCP ports of the monitoring; those of the others' programs are their own defaults."""

from __future__ import annotations

PROMETHEUS = 9090
GRAFANA = 3000
NODE_EXPORTER = 9100
DCGM_EXPORTER = 9400

#: Ours: where the watcher serves watch/exporter.py.
WATCHER = 9470

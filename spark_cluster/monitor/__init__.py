"""Metrics: what Prometheus scrapes, asks and warns of, what Grafana shows, and our own exporter.

All pure: texts and metric families. steps/monitor.py puts them on the hosts.
"""

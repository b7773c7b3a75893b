"""What Prometheus scrapes, asks and warns of, and what Grafana shows: texts and data files.

steps/monitor.py puts them on the hosts.
"""

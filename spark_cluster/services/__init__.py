"""Observability services beside the cluster: a folder each, with service.yaml (what it needs, its
secrets by name, what is told of it) and the compose file or systemd unit that a host gets.

steps/services.py puts them on a host; their secrets are made there and never leave it.
"""

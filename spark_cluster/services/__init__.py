"""Observability services beside the cluster: the files of Phoenix, Langfuse and Helicone.

All pure. steps/services.py puts them on a host; their secrets are made there and never leave it.
"""

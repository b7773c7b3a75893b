"""Readings of a host: a shell fragment that prints, and a pure parser, one file per subject.

All the facts that a run needs are read by one script per host (probe.py).
"""

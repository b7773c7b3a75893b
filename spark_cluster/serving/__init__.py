"""The endpoint's client: requests, metrics, readiness. No I/O: scripts out, text in."""

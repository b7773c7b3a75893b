"""Why a request failed: the same words for every request that failed so."""

from __future__ import annotations

import errno

import httpx
import pytest

from spark_cluster.bench.client import reason


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"),
         "connection refused"),
        (OSError(errno.ECONNRESET, "Connect call failed ('127.0.0.1', 32887)"),
         "connection reset by peer"),
        (OSError(-2, "Name or service not known"), "name or service not known"),
    ],
)  # fmt: skip
def test_no_address_and_no_port(cause: OSError, said: str) -> None:
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = cause
    assert reason(error) == said

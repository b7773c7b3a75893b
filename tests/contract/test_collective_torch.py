"""The script that `verify-rdma --probe --collective` runs in a recipe's image, with real torch:
two ranks over loopback, gloo in place of NCCL."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import replace

import pytest

from spark_cluster.engines.collective import specs
from spark_cluster.rdma.collective import Said, last_words, parse
from tests.unit import world

from . import engines_venv

pytestmark = pytest.mark.contract

SIZES = (16 * 2**10, 4 * 2**20)


def ranks(*sizes: int, limit: int = 60, of: int = 2) -> list[subprocess.Popen[str]]:
    """The ranks as their containers would start them; `of` them are started."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = world.deployment()
    made = replace(made, addresses=dict.fromkeys(made.hosts, "127.0.0.1"))
    started = []
    for spec in specs(made, port=port, sizes=sizes, seconds=0.2, limit=limit, backend="gloo")[:of]:
        program, *words = (*filter(None, [spec.entrypoint]), *spec.command)
        assert program == "python3"
        env = {
            **engines_venv.environment(), **spec.env,
            "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        started.append(
            subprocess.Popen(
                [str(engines_venv.program("python")), *words], env=env, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
    return started


@pytest.fixture(autouse=True)
def torch() -> None:
    if os.environ.get("SPARK_CLUSTER_ENGINES") == "0" or not engines_venv.installed():
        pytest.skip("the real engines are not installed (make engines)")


def ended(processes: list[subprocess.Popen[str]]) -> list[str]:
    return [process.communicate(timeout=120)[0] for process in processes]


def test_two_ranks_time_their_all_reduces_and_sum_rightly() -> None:
    processes = ranks(*SIZES)
    logs = ended(processes)
    assert [process.returncode for process in processes] == [0, 0], logs
    first, second = (parse(log, 2) for log in logs)
    assert first.torch
    assert first.ranks == 2
    assert [timed.bytes for timed in first.sizes] == list(SIZES)
    assert all(timed.right and 1 <= timed.calls <= 50 for timed in first.sizes)
    assert all(timed.bus_gbits > 0 for timed in first.sizes)
    # All ranks did the same, by the slowest's clock.
    assert [timed.calls for timed in first.sizes] == [timed.calls for timed in second.sizes]
    assert (first.moved, first.calls) == (second.moved, second.calls)
    assert first.calls == sum(timed.calls + 2 for timed in first.sizes)
    assert first.moved == sum(timed.bytes * (timed.calls + 2) for timed in first.sizes)


def test_no_size_is_above_1_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is asked for: read from the script itself, so that no test needs the memory."""
    from spark_cluster.engines.common import shipped

    text = shipped("allreduce.py")
    assert "MOST = 2**30" in text
    assert "min(int(word), MOST)" in text


def test_a_rank_that_waits_for_ever_ends_by_its_own_limit() -> None:
    (process,) = ranks(*SIZES, limit=8, of=1)
    (log,) = ended([process])
    assert process.returncode != 0
    assert parse(log, 2) == Said()
    assert process.returncode == -14 or last_words(log)

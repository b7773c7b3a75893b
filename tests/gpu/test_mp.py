"""The same without Ray: one deployment, the tests are its life in order."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest

from .lives import Life, check_evidence, check_traffic, check_wedge, timed
from .pair import Pair

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def begun(pair: Pair) -> Iterator[Life]:
    life = Life(pair, "tiny-mp")
    yield life
    life.end()


@pytest.fixture
def life(begun: Life, phase: None) -> Life:
    begun.need()
    return begun


def test_it_comes_up(life: Life) -> None:
    """`launch` is ready, a canary answers, the verdict is socket."""
    life.need()


def test_verdict_is_socket(life: Life) -> None:
    """`verify-rdma` says socket, with the bytes of a token on each host."""
    check_traffic(life, live=False)


def test_live_under_load(life: Life) -> None:
    """`verify-rdma --live` judges the clients' own tokens."""
    check_traffic(life, live=True)


def test_evidence(life: Life) -> None:
    """`evidence` holds the logs of all ranks."""
    check_evidence(life)


def test_wedge(life: Life) -> None:
    """A stopped rank under load: a wedge for --live and for watch; it ends when it goes on."""
    check_wedge(life)


def test_killed_rank(life: Life) -> None:
    """A killed rank is named by status, verify-rdma and doctor; a canary may hang, verify not."""
    pair = life.pair
    pair.signal_rank(pair.worker, signal.SIGKILL)
    dead = re.compile(r"exited|is dead|died|does not run", re.I)
    pair.eventually(lambda: dead.search(pair.run("status").text), 60, "status names the dead rank")
    status = pair.run("status")
    pair.record.said(status.find(r"(?i).*(?:exited|is dead|died|does not run).*").strip())
    with timed(90):
        verify = pair.run("verify-rdma", "--json", seconds=120)
    pair.record.said("verify-rdma: " + "; ".join(verify.problems))
    assert re.search(r"rank 1|vllm-worker", " ".join(verify.problems)), verify
    assert not re.search(r"RDMA001|modprobe", " ".join(verify.problems)), verify
    doctor = pair.run("doctor")
    pair.record.said("doctor: " + doctor.find(r"(?:SERVE|RDMA016)\S* .*"))
    with timed(60):
        answer = pair.canary(20)
    pair.record.said(f"a canary of 20 s: {answer.error or answer}")
    assert not answer.ok, answer
    pair.grab()

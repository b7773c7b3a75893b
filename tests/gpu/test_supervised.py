"""Restart at boot: the hosts' own supervisors bring a killed rank back, and `watch --restart`
leaves it to them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .lives import PATIENCE, Life, assert_socket
from .pair import Pair

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def begun(pair: Pair) -> Iterator[Life]:
    life = Life(pair, "tiny-mp", "--restart-at-boot")
    with ExitStack() as stack:
        for name, host in pair.hosts.items():
            stack.enter_context(host.rdma_played(pair.inventory.hosts[name].rails))
        yield life
        life.end()


@pytest.fixture
def life(begun: Life, phase: None) -> Life:
    begun.need()
    return begun


def test_it_is_installed(life: Life) -> None:
    """`launch --restart-at-boot` is ready, and a supervisor runs on each host."""
    said = life.need()
    for host in life.pair.hosts:
        assert said.result("restart-at-boot", host)["status"] in ("ok", "changed"), said
    life.pair.record.said(life.pair.run("status").find(r"(?i).*restart.*").strip())


def test_killed_rank_comes_back(life: Life) -> None:
    """Both ranks begin anew and serve; `watch --restart` tells of it and restarts nothing."""
    pair = life.pair
    before = {host.name: host.run("docker inspect -f '{{.State.StartedAt}}' $(docker ps -aq)")
              for host in pair.hosts.values()}  # fmt: skip
    with pair.watching("--interval", "3", "--restart", patience=PATIENCE) as watching:
        watching.until(r"watching", 30)
        pair.signal_rank(pair.worker, signal.SIGKILL)
        pair.record.said(watching.until(r"began critical (?:dead-rank|silent)", 60))

        def anew() -> bool:
            now = {name: host.run("docker inspect -f '{{.State.StartedAt}}' $(docker ps -q)")
                   for name, host in pair.hosts.items()}  # fmt: skip
            return all(now[name].strip() and now[name] != before[name] for name in now)

        pair.eventually(anew, 120, "both ranks were started again")
        pair.eventually(lambda: pair.canary(5).ok, 240, "it serves again")
        pair.record.said(watching.until(r"ended critical (?:dead-rank|silent)", 90))
        assert "restarting" not in watching.text, watching.text
    pair.grab()
    said = pair.run("verify-rdma", "--json")
    assert_socket(said)

"""Connections of NCCL that run into a time-out: one that comes about when it is tried again, and
one that does not. The kernels themselves refuse: neither host answers for its address on one half.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import Cluster, wait_for
from tests.lab.test_verdicts import HALF, HEAD, RECIPE, WORKER, launch, ready_hosts

__all__ = ["ready_hosts"]  # a fixture for all of this module, too

pytestmark = [pytest.mark.lab, pytest.mark.long]

NETDEV = "enP2p1s0f1np1"
ADDRESSES = ("192.168.101.10", "192.168.101.11")

#: NCCL's patience of a minute and a half, shortened.
_ATTEMPTS = {"SPARK_LAB_QP_ATTEMPTS": "4"}


def answer(cluster: Cluster, *, really: bool) -> None:
    """Whether ARP is answered on the half; what the kernels know of each other is forgotten."""
    for node in (HEAD, WORKER):
        cluster.on(
            node,
            f"sudo sysctl -qw net.ipv4.conf.{NETDEV}.arp_ignore={0 if really else 8} && "
            f"sudo ip neigh flush dev {NETDEV}",
        )


@pytest.fixture(autouse=True)
def silent(cluster: Cluster, ready_hosts: None) -> Iterator[None]:
    answer(cluster, really=False)
    yield
    answer(cluster, really=True)


def test_a_connection_that_comes_about_when_tried_again_is_a_healthy_launch(
    cluster: Cluster, tmp_path: Path
) -> None:
    def mend() -> None:
        log = "sudo docker logs vllm-head 2>&1 | grep -cE 'retrying [2-9]/35' || true"
        wait_for(lambda: int(cluster.on(HEAD, log)) > 0, 180, "NCCL tries again")
        answer(cluster, really=True)

    mending = threading.Thread(target=mend)
    mending.start()
    try:
        found = launch(cluster, tmp_path, rails="dual")["verdict"]
    finally:
        mending.join()
    assert found["kind"] == "rdma", found
    log = cluster.on(HEAD, "sudo docker logs vllm-head 2>&1")
    assert re.search(r"ibv_modify_qp failed with 110 .*, retrying 1/35 after 100 msec", log)
    assert HALF in {row["rail"] for row in found["rows"] if row["tx"]}


def test_a_connection_that_never_comes_about_is_named_with_both_gids(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Without Ray, where each rank's own words are in its container's log; with Ray they are lost
    with the process that holds them."""
    with pytest.raises(pytest.fail.Exception) as ended:
        launch(cluster, tmp_path, base=f"{RECIPE}-mp", rails="dual", env=_ATTEMPTS)
    said = str(ended.value)
    cause = "an RDMA connection could not be made: ibv_modify_qp, error 110 (ETIMEDOUT"
    assert cause in said
    # The rank that gives up first says it; the other one may only see that its peer is gone.
    ends = re.findall(rf"on {HALF} from ([0-9.]+) to ([0-9.]+)", said)
    assert {frozenset(pair) for pair in ends} == {frozenset(ADDRESSES)}

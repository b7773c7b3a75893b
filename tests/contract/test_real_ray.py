"""Real Ray: a head and a worker on two nodes, by the command lines of the shipped recipe."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spark_cluster import places
from spark_cluster.core.result import Status
from spark_cluster.facts.serving import RAY
from spark_cluster.inventory import loader as inventories
from spark_cluster.serving import ray

from . import real_cluster
from .real_cluster import Cluster
from .sshd_server import eventually

pytestmark = pytest.mark.contract
HEAD, WORKER = "192.168.100.10", "192.168.100.11"


@pytest.fixture(scope="module")
def cluster(engines: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Nothing is started yet."""
    inventory = inventories.load(places.shipped("inventory") / inventories.FILE)
    recipe = places.shipped("playbooks") / "recipes" / "qwen3-vl-235b.yaml"
    deployment = real_cluster.deploy(recipe, inventory, ("spark-2", "spark-3"))
    with real_cluster.cluster(deployment, inventory, tmp_path_factory.mktemp("ray")) as found:
        yield found


def test_head_and_worker_join_by_our_command_lines(cluster: Cluster) -> None:
    assert cluster.read(RAY, "spark-2").active is None
    cluster.head.start()
    first = cluster.run("ray-head seconds=90")["ray-head"]
    assert first.status is Status.OK, (first, cluster.say())
    assert first.summary == "1 nodes ALIVE, 1 GPUs"
    missing = ray.joined(cluster.read(RAY, "spark-2"), [HEAD, WORKER], 2)
    assert missing == [f"{WORKER} has not joined Ray.", "Ray has 1 of 2 GPUs."]

    cluster.worker.start()
    both = cluster.run("ray-joined seconds=90")["ray-joined"]
    assert both.status is Status.OK, (both, cluster.say())
    assert both.summary == "2 nodes ALIVE, 2 GPUs"
    nodes = cluster.read(RAY, "spark-2").nodes
    assert nodes is not None
    assert {(node.ip, node.is_head, node.gpus) for node in nodes} == {
        (HEAD, True, 1.0),
        (WORKER, False, 1.0),
    }


def test_ray_status_says_the_same_when_the_dashboard_is_away(cluster: Cluster) -> None:
    """A while later: it is the autoscaler's report, which is made anew every few seconds."""
    nobody_listens = 8266
    seen: list[ray.RayStatus] = []

    def says_the_same() -> bool:
        asked = cluster.script(ray.nodes_script(nobody_listens, cluster.head.spec.name))
        seen.append(ray.parse(asked))
        return (seen[-1].active, seen[-1].gpus_total) == (2, 2.0)

    eventually(says_the_same, 60)
    assert seen[-1].nodes is None


def test_a_killed_worker_is_missed(cluster: Cluster) -> None:
    cluster.worker.kill()
    eventually(lambda: cluster.worker.exited)
    missing = [f"{WORKER} had joined Ray and is dead.", "Ray has 1 of 2 GPUs."]
    eventually(lambda: ray.joined(cluster.read(RAY, "spark-2"), [HEAD, WORKER], 2) == missing, 45)
    failed = cluster.run("ray-joined seconds=5", host="spark-3")["ray-joined"]
    assert failed.status is Status.FAILED
    assert "vllm-worker is exited, exit code 137" in failed.summary

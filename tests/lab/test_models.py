"""`model` and `image` on the lab: real SSH, sudo and docker, copies over the fabric's addresses."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from spark_cluster.lab.model import NAME, REVISION
from tests.lab.conftest import Cluster, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.long]

PAIR = ("spark-2", "spark-3")
RECIPE = "qwen3-vl-235b"
IMAGE = "nvcr.io/nvidia/vllm:25.11-py3"
BIG = "lab/big"
CACHE = "$HOME/.cache/huggingface/hub"

#: A model of three shards of 40 MB, made on the node, with names that are their hashes.
_MAKE = f"""
set -e
m={CACHE}/models--lab--big; s=$m/snapshots/{REVISION}
mkdir -p $m/blobs $m/refs $s
for i in 1 2 3; do
  head -c 40000000 /dev/urandom > $m/new
  b=$(sha256sum $m/new | cut -d' ' -f1)
  mv $m/new $m/blobs/$b
  ln -s ../../blobs/$b $s/model-0000$i-of-00003.safetensors
done
echo {REVISION} | tr -d '\\n' > $m/refs/main
"""


def folder(model: str) -> str:
    return f"{CACHE}/models--{model.replace('/', '--')}"


def hashes(cluster: Cluster, node: str, model: str) -> str:
    return cluster.on(node, f"cd {folder(model)} && find . -type f -exec sha256sum {{}} + | sort")


@pytest.fixture(scope="module")
def fabric(cluster: Cluster) -> Iterator[Cluster]:
    """The lab with addresses on its fabric, also when no other test came first."""
    if cluster.on("spark-2", "ping -c 1 -W 5 192.168.100.11 >/dev/null || echo no"):
        cluster.run("bootstrap")
    yield cluster
    for node in PAIR:
        cluster.on(node, f"rm -rf {folder(BIG)}")


def _nothing_runs(cluster: Cluster, node: str) -> bool:
    left = "pgrep -f '[s]park_cluster.transfer'; ls -d /tmp/spark-cluster-transfer.* 2>/dev/null"
    return not cluster.on(node, left, check=False)


def states(cluster: Cluster, model: str) -> dict[str, bool]:
    shown = json.loads(cluster.run("model", "ls", model, "--hosts", "pair", "--json").stdout)
    return {row["host"]: row["complete"] for row in shown["models"]}


def test_a_model_is_removed_copied_and_verified(fabric: Cluster) -> None:
    assert states(fabric, RECIPE) == {"spark-2": True, "spark-3": True}
    fabric.run("model", "rm", RECIPE, "--hosts", "spark-3", "--yes")
    assert states(fabric, RECIPE) == {"spark-2": True}
    refused, _ = fabric.events("launch", RECIPE, code=4)
    remedies = [e["error"]["remedy"] for e in refused if e.get("error")]
    assert f"spark-cluster model sync {RECIPE}" in remedies
    fabric.run("model", "sync", RECIPE)
    assert hashes(fabric, "spark-3", NAME) == hashes(fabric, "spark-2", NAME)
    owner = fabric.on("spark-3", f"find {folder(NAME)} ! -user $(id -un)")
    assert owner == "", "all of it is the SSH user's"
    fabric.run("model", "verify", RECIPE, "--hosts", "pair")


@contextmanager
def slow_rails(cluster: Cluster, node: str) -> Iterator[None]:
    """10 MB/s on each rail: the test's 120 MB are under way for seconds, not for one."""
    each = "for i in enp1s0f1np1 enP2p1s0f1np1; do sudo tc qdisc"
    cluster.on(node, f"{each} replace dev $i root netem rate 80mbit || exit 1; done")
    try:
        yield
    finally:
        cluster.on(node, f"{each} del dev $i root; done")


def test_a_copy_that_was_interrupted_goes_on(fabric: Cluster) -> None:
    fabric.on("spark-2", _MAKE)
    with slow_rails(fabric, "spark-2"):
        started = fabric.start("model", "sync", BIG, "--from", "spark-2", "--to", "pair")
        parts = f"find {folder(BIG)}/blobs -name '*.incomplete' -size +1M 2>/dev/null"
        wait_for(lambda: fabric.on("spark-3", parts, check=False), 60, "a part is there")
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=120)
    assert started.returncode == 130, out + err
    for node in PAIR:
        wait_for(partial(_nothing_runs, fabric, node), 120, f"nothing of ours runs on {node}")
    assert states(fabric, BIG)["spark-3"] is False
    words = ("model", "sync", BIG, "--from", "spark-2", "--to", "pair", "--iperf")
    events, last = fabric.events(*words)
    (copied,) = last["data"]["copies"]
    assert copied["present_bytes"] > 1_000_000
    assert copied["received_bytes"] + copied["present_bytes"] == 120_000_000
    assert copied["gbits"] > 0
    assert copied["iperf_gbits"] > 0, "iperf3 is on the lab's nodes"
    assert copied["limit"]
    (said,) = [
        event["summary"]
        for event in events
        if event["kind"] == "step_finished" and event["host"] == "spark-3"
    ]
    assert f" Gb/s (iperf3 {copied['iperf_gbits']:.3g} Gb/s" in said
    assert hashes(fabric, "spark-3", BIG) == hashes(fabric, "spark-2", BIG)


def test_a_rotten_file_is_found_and_mended(fabric: Cluster) -> None:
    shard = f"{folder(BIG)}/snapshots/{REVISION}/model-00002-of-00003.safetensors"
    fabric.on("spark-3", f"printf rot | dd of={shard} bs=1 seek=500 conv=notrunc status=none")
    done = fabric.run("model", "verify", BIG, "--hosts", "pair", code=4)
    assert "model-00002-of-00003.safetensors: its sha256 hash is" in done.stdout
    fabric.run("model", "sync", BIG, "--from", "spark-2", "--to", "spark-3", "--deep")
    fabric.run("model", "verify", BIG, "--hosts", "pair")


def test_an_image_that_differs_is_refused_and_synced(fabric: Cluster) -> None:
    """The same name over other content, as a moving tag gives it."""
    change = f"""
c=$(sudo docker create {IMAGE}) && sudo docker commit -m other $c {IMAGE} && sudo docker rm $c
"""
    fabric.on("spark-3", change)
    refused, _ = fabric.events("launch", RECIPE, code=4)
    codes = {event["error"]["code"] for event in refused if event.get("error")}
    assert "SERVE003" in codes
    shown = json.loads(fabric.run("image", "ls", RECIPE, "--hosts", "pair", "--json").stdout)
    assert set(shown["skew"]) == {IMAGE}
    _, last = fabric.events("image", "sync", RECIPE, "--from", "spark-2")
    assert last["data"]["copies"][0]["received_bytes"] > 10_000_000
    identity = f"sudo docker image inspect -f '{{{{.Id}}}}' {IMAGE}"
    assert fabric.on("spark-3", identity) == fabric.on("spark-2", identity)

"""Real vLLM, and what it copies from the head's environment over the workers' own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from spark_cluster import places
from spark_cluster.inventory import loader as inventories

from . import engines_venv, real_cluster

pytestmark = pytest.mark.contract

#: The cable is in port 1 here and in port 0 there, as between two hosts of a ring.
CROSSED = """\
version: 1
hosts:
  spark-2:
    rails: [{interface: enp1s0f1np1, device: rocep1s0f1, address: 192.168.100.10/24}]
  spark-3:
    rails: [{interface: enp1s0f0np0, device: rocep1s0f0, address: 192.168.100.11/24}]
groups: {pair: [spark-2, spark-3]}
"""

_ASK = """\
import json, os
from vllm.ray.ray_env import get_env_vars_to_copy
print(json.dumps(sorted(name for name in get_env_vars_to_copy() if name in os.environ)))
"""


def copied(env: dict[str, str], root: Path) -> set[str]:
    done = subprocess.run(
        [engines_venv.program("python"), "-c", _ASK],
        env={**engines_venv.environment(), **env, "VLLM_CONFIG_ROOT": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_a_workers_own_device_is_not_written_over(engines: None, tmp_path: Path) -> None:
    (tmp_path / "crossed.yaml").write_text(CROSSED)
    inventory = inventories.load(tmp_path / "crossed.yaml")
    recipe = places.shipped("playbooks") / "recipes" / "qwen3-vl-235b.yaml"
    deployment = real_cluster.deploy(recipe, inventory, ("spark-2", "spark-3"))
    env = dict(deployment.containers[0].env)
    assert {"NCCL_NET", "NCCL_IB_HCA", "NCCL_SOCKET_IFNAME"} <= copied(env, tmp_path)
    (file,) = [file for file in deployment.files if "carry_over" in file.path]
    (tmp_path / Path(file.path).name).write_text(file.content)
    kept = copied(env, tmp_path)
    assert "NCCL_NET" in kept
    assert not kept & {"NCCL_IB_HCA", "NCCL_SOCKET_IFNAME", "UCX_NET_DEVICES"}

"""Three Sparks on one switch of which two serve: what relaunch and failover are tried on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spark_cluster import places
from spark_cluster.actions.deploying import Choices, deploy, load_recipe
from spark_cluster.core.labels import LABEL
from spark_cluster.engines.spec import Deployment
from spark_cluster.facts.table import FACTS
from spark_cluster.inventory.models import Inventory

from . import world
from .cases import write
from .world import Spark, healthy

RECIPE = "qwen3-vl-235b-mp"

SWITCH = """\
version: 1
hosts:
  spark-2:
    rails:
      - {interface: enp1s0f1np1, device: rocep1s0f1, address: 192.168.100.10/24}
      - {interface: enP2p1s0f1np1, device: roceP2p1s0f1, address: 192.168.101.10/24}
  spark-3:
    rails:
      - {interface: enp1s0f1np1, device: rocep1s0f1, address: 192.168.100.11/24}
      - {interface: enP2p1s0f1np1, device: roceP2p1s0f1, address: 192.168.101.11/24}
  spark-1:
    rails:
      - {interface: enp1s0f1np1, device: rocep1s0f1, address: 192.168.100.12/24}
      - {interface: enP2p1s0f1np1, device: roceP2p1s0f1, address: 192.168.101.12/24}
groups:
  pair: [spark-2, spark-3]
"""


def made(inventory: Inventory, hosts: tuple[str, ...], **choices: Any) -> Deployment:
    chosen = Choices(hosts=hosts, **choices)
    return deploy(inventory, load_recipe(inventory, RECIPE, chosen), chosen, world.RUN)[0]


def runs(deployment: Deployment, host: str, state: str = "running") -> str:
    """`containers` on a host on which its rank of the deployment is."""
    spec = deployment.container(host)
    labels = json.dumps({**spec.labels, f"{LABEL}.spec": spec.digest}, separators=(",", ":"))
    lines = [f"@@c ours 4f5e /{spec.name} {state} 0 2026-11-21T03:15:42Z {labels}"]
    lines += [f"p 4211 {' '.join(spec.command)}"] if state == "running" else []
    return "\n".join(lines) + "\n"


def able(host: str, deployment: Deployment) -> Spark:
    """A host of the switch on which a rank of the deployment can be started and taken down."""
    texts = {}
    if host == "spark-1":
        for fact in FACTS:
            text = healthy(fact, "spark-2").replace("640a", "640c").replace("650a", "650c")
            texts[fact] = text.replace("100.10", "100.12").replace("101.10", "101.12")
    spark = Spark(host, texts)
    spark.carries = world.TOKEN_UNITS
    up = {"server": world.SERVER_UP} if host == deployment.head else {}
    spark.effect("docker rm --force", containers="")
    spark.effect("docker run", containers=runs(deployment, host), **up)
    for file in deployment.files:
        spark.effect(file.path, files=file.path)
    return spark


def both(switch: Inventory, state: str = "running") -> list[Spark]:
    deployment = made(switch, ("spark-2", "spark-3"))
    hosts = [able(name, deployment) for name in deployment.hosts]
    for host in hosts:
        host.texts["containers"] = runs(deployment, host.name, state)
    return [*hosts, able("spark-1", made(switch, ("spark-3", "spark-1")))]


def less_memory(host: Spark) -> None:
    """Since its launch something else has taken memory; teardown waits for it for a moment."""
    host.texts["launch-snapshot"] = "run 20261118-031500-1111\nmemory 131072000000\n"
    shipped = (places.shipped("playbooks") / "teardown.yaml").read_text(encoding="utf-8")
    write(Path("playbooks/teardown.yaml"), shipped.replace("{seconds: 60}", "{seconds: 0.05}"))

"""The supervisor of one rank: its script's first lines, from the deployment, and its unit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from spark_cluster.core.data_files import read_text
from spark_cluster.core.labels import LABEL
from spark_cluster.core.shell import quote
from spark_cluster.engines.spec import docker_exec
from spark_cluster.facts.base import ProbeContext
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.launch_snapshot import NOTE
from spark_cluster.facts.links import PING_OVERHEAD
from spark_cluster.facts.shared_memory import SHARED_MEMORY
from spark_cluster.facts.supervisor import FOLDER, RUNS, SCRIPT
from spark_cluster.serving import ray
from spark_cluster.steps.view import View

#: Seconds between two turns, for all ranks to join an epoch, and before the first new beginning.
_EVERY, _PATIENCE, _FIRST_PAUSE = 5, 300, 10


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def launch_of(view: View) -> str:
    """The run that started the head's container: the launch's name, the same on all its hosts."""
    return _run(view, view.serving.head)


def _run(view: View, host: str) -> str:
    """The run that started the container there, or this run, which will."""
    spec = view.serving.container(host)
    there = view.all_facts[host][CONTAINERS].named(spec.name)
    return there.label("run") if there else spec.labels[f"{LABEL}.run"]


def script(view: View, *, port: int, swap: str) -> str:
    """The whole script of this host's rank. `swap`: off, or keep."""
    spec, serving = view.spec, view.serving
    others = [f"{name}={serving.addresses[name]}" for name in serving.hosts if name != view.name]
    head = f"{serving.head}={serving.addresses[serving.head]}"
    settings = {
        "RECIPE": serving.recipe,
        "RANK": spec.rank,
        "LAUNCH": launch_of(view),
        "RUN": _run(view, view.name),
        "CONTAINER": spec.name,
        "SERVER": serving.serve.title if serving.serve and view.is_head else "",
        "OWN": serving.addresses[view.name] if others else "",
        "PORT": port,
        "HEAD": "" if view.is_head else head,
        "OTHERS": " ".join(others),
        "RAILS": " ".join(_rails(view)),
        "PINGS": " ".join(_pings(view)),
        "SWAP": swap,
        "FOLDER": FOLDER,
        "NOTE": NOTE,
        "RUNS": RUNS,
        "EVERY": _EVERY,
        "PATIENCE": _PATIENCE,
        "FIRST_PAUSE": _FIRST_PAUSE,
    }
    lines = "".join(f"{name}={quote(str(value))}\n" for name, value in settings.items())
    return f"""\
#!/bin/sh
# Keeps rank {spec.rank} of {serving.recipe} running, also after a boot. Written by
# `spark-cluster launch --restart-at-boot`; `spark-cluster teardown` removes it.
{lines}
serve() {{
  {docker_exec(serving.serve) if serving.serve and view.is_head else ":"}
}}
joined() {{
{_joined(view)}}}
traces() {{
{SHARED_MEMORY.script(ProbeContext(view.host, view.inventory))}}}
{read_text("spark_cluster.workload", "supervisor.sh")}"""


def unit(view: View) -> str:
    """The systemd unit. Its lines in the journal stand with all others of ours."""
    return f"""\
# Written by `spark-cluster launch --restart-at-boot`; `spark-cluster teardown` removes it.
[Unit]
Description=spark-cluster: keeps rank {view.spec.rank} of {view.serving.recipe} running
After=docker.service
Wants=docker.service
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh {SCRIPT}
SyslogIdentifier=spark-cluster
Restart=always
RestartSec=10
TimeoutStopSec=15

[Install]
WantedBy=multi-user.target
"""


def _joined(view: View) -> str:
    """Shell that succeeds once Ray has all nodes; without Ray there is nothing to ask."""
    port = view.serving.ray_dashboard_port
    if port is None or not view.is_head:
        return "  :\n"
    return (
        f"  _alive=$({{\n{ray.nodes_script(port, view.spec.name)}"
        r"""} | grep -oE '"state": ?"ALIVE"|^ +[0-9]+ node_' | wc -l)"""
        f'\n  [ "$_alive" -ge {len(view.serving.hosts)} ]\n'
    )


def _rails(view: View) -> Iterator[str]:
    """INTERFACE/ADDRESS/DEVICE of what the rank needs; where the ranks find each other may be a
    link, without a device."""
    rails = view.rails(view.name)
    yield from (f"{rail.interface}/{rail.ip}/{rail.device}" for rail in rails)
    own = view.serving.addresses[view.name]
    for link in view.host.links:
        if link.ip == own:
            yield f"{link.interface}/{own}/"


def _pings(view: View) -> Iterator[str]:
    """INTERFACE/ADDRESS/BYTES: the other ranks' rails that each rail faces."""
    for rail in view.rails(view.name):
        for name in view.serving.hosts:
            for peer in view.rails(name) if name != view.name else ():
                if peer.network == rail.network:
                    size = min(rail.mtu, peer.mtu) - PING_OVERHEAD
                    yield f"{rail.interface}/{peer.ip}/{size}"

"""`monitor up --packages` and `monitor down` on two nodes, with Debian's real programs.

The nodes are namespaces (namespaces.py) with an /etc, a /var/lib and a /run of their own. What
stands in: a systemctl that starts ExecStart (systemctl_standin.py), a docker without containers.
"""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spark_cluster import places
from spark_cluster.actions.monitor import request, started
from spark_cluster.cli.views import monitor as view
from spark_cluster.core.event import Event
from spark_cluster.core.result import Result, Status
from spark_cluster.facts.base import ProbeContext
from spark_cluster.facts.monitor import MONITOR, SCRAPED
from spark_cluster.inventory import loader as inventories
from spark_cluster.playbook import loader as playbooks
from spark_cluster.runner.request import RunRequest
from spark_cluster.runner.run import Run
from spark_cluster.runner.session import HostSession, Session
from spark_cluster.steps import registry
from spark_cluster.transport.protocol import Become, Target
from tests.unit.test_engine_standin_cluster import until

from . import namespaces, systemctl_standin
from .real_cluster import NodeConnection
from .test_monitor import programs  # noqa: F401  (a fixture)

pytestmark = pytest.mark.contract

#: Upper layers in the node's own memory: this machine's files stay as they are. As on a host after
#: bootstrap, whose network guard made our folder for root alone.
_OWN_FOLDERS = """\
set -e
for f in etc var/lib; do
  mkdir -p "$TMPDIR/over/$f" "$TMPDIR/work/$f"
  mount -t overlay overlay -o "lowerdir=/$f,upperdir=$TMPDIR/over/$f,workdir=$TMPDIR/work/$f" /$f
done
mount -t tmpfs tmpfs /run
mkdir -p -m 700 /var/lib/spark-cluster
"""


class Pair:
    """Two nodes and the program's session with them."""

    def __init__(self, folder: Path, nodes: dict[str, namespaces.Node]) -> None:
        self.nodes = nodes
        self.inventory = inventories.load(places.shipped("inventory") / inventories.FILE)
        self.events: list[Event] = []
        program = folder / "bin" / "systemctl"
        program.parent.mkdir()
        text = Path(systemctl_standin.__file__).read_text()
        program.write_text(f"#!{sys.executable}\n{text}")
        program.chmod(0o755)
        docker = program.with_name("docker")
        docker.write_text("#!/bin/sh\nexit 0\n")
        docker.chmod(0o755)
        hosts = []
        for name, node in nodes.items():
            own = folder / name
            own.mkdir()
            node.environment |= {"UNITS": str(own)}
            node.environment["PATH"] = f"{program.parent}:{node.environment['PATH']}:/usr/sbin"
            host = self.inventory.hosts[name]
            hosts.append(HostSession(Target(name, name), ProbeContext(host, self.inventory)))
        self.session = Session(hosts, self._connect, Become())
        self.session.connect(self.events.append)

    def _connect(self, target: Target, become: Become) -> NodeConnection:
        return NodeConnection(self.nodes[target.name], target, become)

    def sh(self, name: str, script: str) -> str:
        done = self.session.hosts[name].run(script, timeout=60)
        assert done.ok, done.stderr
        return done.stdout

    def run(self, **parameters: Any) -> dict[tuple[str, str], Result]:
        """The playbook as the command line asks for it; the results by step and host."""
        given = {"host": "spark-2", "source": "packages", "seconds": 60, **parameters}
        asked = request("monitor", self.inventory, [], given)
        path = playbooks.find("monitor")
        wanted = RunRequest(
            verb="monitor",
            playbook="monitor",
            hosts=list(self.session.hosts),
            inventory=self.inventory,
            all_hosts_needed=False,
            run="20261121-031500-9f3a",
        )
        bound = playbooks.load(path, registry(), asked.settings)
        run = Run(wanted, self.session, bound, self.events.append)
        results = run.apply(run.plan())
        return {(result.step, result.host): result for result in results}


@pytest.fixture
def pair(programs: dict[str, str], tmp_path: Path) -> Iterator[Pair]:  # noqa: F811
    reason = namespaces.why_not()
    if reason:
        pytest.skip(f"no nodes: {reason}")
    inventory = inventories.load(places.shipped("inventory") / inventories.FILE)
    tmp_path.chmod(0o755)
    with namespaces.pair((inventory.hosts["spark-2"], inventory.hosts["spark-3"])) as nodes:
        found = Pair(tmp_path, nodes)
        for name, node in nodes.items():
            found.sh(name, _OWN_FOLDERS)
            # Something must listen on a host: on a Spark it is sshd.
            node.start([sys.executable, "-m", "http.server", "22"], {}, -3)
            until(partial(found.sh, name, "ss -Hltn"), "a listener")
        yield found
        found.session.close()


def statuses(results: dict[tuple[str, str], Result], host: str) -> dict[str, Status]:
    return {step: result.status for (step, at), result in results.items() if at == host}


def test_up_again_changed_and_down(pair: Pair) -> None:
    # Up: what was started answers, and Prometheus has read every node exporter.
    first = pair.run()
    assert all(result.status.good for result in first.values()), first
    assert first["monitor-services", "spark-2"].status is Status.CHANGED
    assert first["monitor-services", "spark-3"].status is Status.CHANGED
    facts = pair.session.hosts["spark-2"].facts
    assert facts[MONITOR].ready == {"prometheus", "node-exporter"}
    seen = {(t.job, t.host): t.health for t in facts[SCRAPED].targets}
    assert seen["node", "spark-2"] == "up"
    assert seen["node", "spark-3"] == "up"  # over the rail
    assert ("node", "spark-1") not in seen  # not one of the nodes
    assert seen["vllm", "spark-2"] == seen["vllm", "spark-3"] == "absent"
    assert not any(job == "dcgm" for job, _ in seen)
    lines = "\n".join(view.started(started(pair.inventory, "spark-2", facts)))
    assert "http://spark-2:9090" in lines
    assert "vllm-spark.json" in lines
    owner = pair.sh("spark-2", "stat -c %U /var/lib/spark-cluster/monitor/prometheus")
    assert owner.strip() == "prometheus"

    # Again: nothing to do.
    again = pair.run()
    assert not [r for r in again.values() if r.status is Status.CHANGED], again
    assert all(result.status.good for result in again.values())

    # Another engine port: the targets' file is new, and Prometheus sees it without a new start.
    pid = pair.sh("spark-2", "cat $UNITS/spark-cluster-prometheus.service.pid")
    changed = pair.run(engine_port=8001)
    assert changed["monitor-files", "spark-2"].status is Status.CHANGED
    assert changed["monitor-services", "spark-2"].status is Status.OK
    assert pair.sh("spark-2", "cat $UNITS/spark-cluster-prometheus.service.pid") == pid

    def found() -> bool:
        targets = pair.session.hosts["spark-2"].read([SCRAPED])[SCRAPED].targets
        return any(target.address.endswith(":8001") for target in targets)

    until(found, "the new target")

    # Down: ours are gone, what was collected stays; --purge drops it.
    down = pair.run(state="absent")
    assert all(result.status.good for result in down.values()), down
    for name in pair.nodes:
        fact = pair.session.hosts[name].read([MONITOR])[MONITOR]
        assert not fact.units
        assert not fact.files
        assert not fact.ready
    assert pair.session.hosts["spark-2"].facts[MONITOR].data
    purged = pair.run(state="absent", purge=True)
    assert purged["monitor-services", "spark-2"].status is Status.CHANGED
    assert not pair.session.hosts["spark-2"].read([MONITOR])[MONITOR].data


def test_what_runs_there_already_is_used_or_is_in_the_way(pair: Pair) -> None:
    exporter = ["/usr/bin/prometheus-node-exporter"]
    pair.nodes["spark-2"].start(exporter, {}, -3)
    pair.nodes["spark-3"].start(exporter, {}, -3)
    until(lambda: ":9100" in pair.sh("spark-2", "ss -Hltn"), "spark-2's own exporter")
    until(lambda: ":9100" in pair.sh("spark-3", "ss -Hltn"), "spark-3's own exporter")
    results = pair.run()
    assert all(result.status.good for result in results.values()), results
    assert results["monitor-services", "spark-3"].status is Status.OK
    assert "used as it is" in results["monitor-ports", "spark-3"].summary
    pair.run(state="absent")
    assert ":9100" in pair.sh("spark-3", "ss -Hltn")  # not ours, not ended

    pair.nodes["spark-2"].start([sys.executable, "-m", "http.server", "9090"], {}, -3)
    until(lambda: ":9090" in pair.sh("spark-2", "ss -Hltn"), "something on 9090")
    refused = pair.run()["monitor-ports", "spark-2"]
    assert refused.status is Status.FAILED
    assert refused.error is not None
    assert refused.error.code == "MON002"
    assert "9090" in refused.error.message


def test_a_unit_that_ends_at_once_is_told(pair: Pair) -> None:
    pair.sh("spark-2", "mount --bind /bin/false /usr/bin/prometheus")
    failed = pair.run(seconds=3)["monitor-ready", "spark-2"]
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert failed.error.code == "MON003"
    assert failed.error.remedy == "On spark-2: journalctl -u spark-cluster-prometheus.service"


def test_the_files_on_the_host_are_what_prometheus_uses(pair: Pair) -> None:
    pair.run()
    text = pair.sh(
        "spark-2",
        "curl -s http://127.0.0.1:9090/api/v1/rules; echo; "
        "stat -c %a /etc/spark-cluster/monitor/prometheus.yml; "
        "promtool check config /etc/spark-cluster/monitor/prometheus.yml",
    )
    answer, mode, said = text.split("\n", 2)
    names = [rule["name"] for group in json.loads(answer)["data"]["groups"]
             for rule in group["rules"]]  # fmt: skip
    assert "EngineWedged" in names
    assert stat.S_IMODE(int(mode, 8)) == 0o644
    assert "SUCCESS" in said

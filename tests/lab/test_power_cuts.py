"""Real power cuts: what a node had not yet written to its disk is lost. And a clock set back.

The slow half of the fault suite, with the invariants of the fast one (tests/lab/faults).
"""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.conftest import Cluster, wait_for
from tests.lab.faults.driver import Moment
from tests.lab.faults.invariants import Known, nothing_left, nothing_lost
from tests.lab.faults.sight import LOOK, Sight
from tests.lab.test_network_guard import NEW, NODE, RAIL, address, variant

pytestmark = [pytest.mark.lab, pytest.mark.long]

RECIPE = "qwen3-vl-235b"

#: Seconds for a run with a power cut in it: a node boots within three minutes or so.
_LIMIT = 1200.0

_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
_FILES = """
cd /etc/netplan && for f in *; do echo "netplan $f $(base64 -w0 "$f")"; done
cd / && find etc/security etc/modules-load.d etc/NetworkManager etc/ssh etc/fstab -type f \\
  -exec sha256sum {} + | awk '{print "disk", $2, $1}'
ls /etc/systemd/system | grep -q spark-cluster-guard && echo "armed yes"
"""


def look(cluster: Cluster, node: str = NODE) -> Sight:
    """What the node holds, by the lab's own way in."""
    script = base64.b64encode(f"{_FILES}\n{LOOK}".encode()).decode()
    text = cluster.on(node, f"echo {script} | base64 -d | sudo sh -s")
    sight = Sight(node, {}, {}, False)
    sight.read(text)
    for line in sight.lines.get("netplan", []):
        name, _, content = line.partition(" ")
        sight.netplan[name] = base64.b64decode(content)
    sight.disk = dict(line.split() for line in sight.lines.get("disk", []))
    sight.armed = "armed" in sight.lines
    return sight


def left(cluster: Cluster) -> list[str]:
    """What a teardown left on the pair. Swap was off before the launch; a boot turns it on."""
    sights = [look(cluster, node) for node in ("spark-2", NODE)]
    return [each for each in nothing_left(sights) if "swap" not in each]


@contextmanager
def ended_in_time(process: subprocess.Popen[str], lines: list[str]) -> Iterator[None]:
    """Afterwards the process has ended; one that hangs is killed, and the test fails with the last
    of its lines."""
    hung = threading.Event()

    def give_up() -> None:
        hung.set()
        process.kill()

    watchdog = threading.Timer(_LIMIT, give_up)
    watchdog.start()
    try:
        yield
        process.wait()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        if hung.is_set():  # also when it was killed within a line, which is then no JSON
            pytest.fail(f"hung: not ended within {_LIMIT:.0f} s\n{''.join(lines[-20:])}")


@contextmanager
def power_cut_at(cluster: Cluster, moment: Moment, *arguments: str) -> Iterator[list[str]]:
    """Run with --json; at `moment` the node's power is gone for a moment. Afterwards the run has
    ended and the node is up again; what the run printed is in the list."""
    before = cluster.on(NODE, _BOOT_ID)
    process = cluster.start(*arguments, "--json")
    assert process.stdout is not None
    lines: list[str] = []
    seen = 0
    with ended_in_time(process, lines):
        for line in process.stdout:
            lines.append(line)
            if moment.is_like(json.loads(line)):
                seen += 1
                if seen == moment.nth:
                    process.send_signal(signal.SIGSTOP)  # the run shall not get further meanwhile
                    cluster.run("lab", "fault", "power-cycle", NODE)
                    process.send_signal(signal.SIGCONT)
    assert seen >= moment.nth, lines

    def rebooted() -> bool:
        try:
            return cluster.on(NODE, _BOOT_ID) != before
        except (Exception, pytest.fail.Exception):
            return False

    wait_for(rebooted, 420, f"{NODE} boots again")
    wait_for(lambda: cluster.on(NODE, "systemctl is-active docker", check=False) == "active\n",
             300, "docker is up")  # fmt: skip
    yield lines


@pytest.fixture(scope="module", autouse=True)
def ready(cluster: Cluster) -> Iterator[None]:
    cluster.run("bootstrap")
    yield
    cluster.run("bootstrap")


@pytest.fixture
def known(cluster: Cluster, tmp_path: Path) -> tuple[Known, str]:
    """The node before and after a change of an address, and the inventory that asks for it."""
    before = look(cluster)
    inventory = variant(cluster, tmp_path, {RAIL: NEW})
    cluster.run("bootstrap", "-i", inventory, "--hosts", NODE)
    after = look(cluster)
    cluster.run("bootstrap", "--hosts", NODE)
    return Known({NODE: before}, {NODE: after}), inventory


def test_a_confirmed_network_outlives_a_power_cut(
    cluster: Cluster, known: tuple[Known, str]
) -> None:
    moment = Moment("guarded", "confirmed")
    with power_cut_at(cluster, moment, "bootstrap", "-i", known[1], "--hosts", NODE):
        wait_for(lambda: address(cluster) == NEW, 120, "the confirmed address is back")
        sight = look(cluster)
    assert sight.netplan == known[0].ready[NODE].netplan
    assert nothing_lost(known[0], [sight], settled=True) == []
    cluster.run("bootstrap", "--hosts", NODE)
    _, last = cluster.events("bootstrap", "--hosts", NODE)
    assert "changed" not in last["counts"]


def test_an_unconfirmed_network_does_not(cluster: Cluster, known: tuple[Known, str]) -> None:
    moment = Moment("guarded", "applied")
    # The host takes it back at its boot; the run looks for its change until the guard's limit.
    words = ("bootstrap", "-i", known[1], "--hosts", NODE, "--set", "netplan.guard_seconds=40")
    with power_cut_at(cluster, moment, *words) as lines:
        sight = look(cluster)
    assert not [line for line in lines if '"confirmed"' in line]
    assert sight.netplan == known[0].fresh[NODE].netplan
    assert nothing_lost(known[0], [sight], settled=True) == []
    cluster.run("bootstrap", "--hosts", NODE)


def test_a_power_cut_during_a_launch(cluster: Cluster) -> None:
    moment = Moment("step_started", "ready")
    with power_cut_at(cluster, moment, "launch", RECIPE) as lines:
        last = json.loads(lines[-1])
    # An event `error` ends a run that could not begin or was given up: it has no exit code.
    assert last.get("exit_code") in (1, 3), "".join(lines[-5:])
    cluster.run("teardown")
    assert left(cluster) == []
    cluster.run("bootstrap")
    _, last = cluster.events("bootstrap")
    assert "changed" not in last["counts"]


def test_a_power_cut_during_a_teardown(cluster: Cluster) -> None:
    cluster.run("launch", RECIPE)
    with power_cut_at(cluster, Moment("step_started", "containers"), "teardown") as lines:
        last = json.loads(lines[-1])
    if last.get("exit_code") != 0:
        assert last.get("exit_code") in (1, 3), "".join(lines[-5:])
        cluster.run("teardown", "--resume")
    assert left(cluster) == []
    cluster.run("bootstrap")
    _, last = cluster.events("bootstrap")
    assert "changed" not in last["counts"]


def test_a_clock_set_back_in_the_middle_of_a_change(
    cluster: Cluster, known: tuple[Known, str]
) -> None:
    process = cluster.start("bootstrap", "-i", known[1], "--hosts", NODE, "--json")
    assert process.stdout is not None
    lines: list[str] = []
    try:
        with ended_in_time(process, lines):
            for line in process.stdout:
                lines.append(line)
                if Moment("guarded", "arming").is_like(json.loads(line)):
                    cluster.on(NODE, "sudo date -s '-2 hours'")
        assert process.returncode == 0, "".join(lines[-5:])
        assert look(cluster).netplan == known[0].ready[NODE].netplan
        cluster.run("bootstrap", "--hosts", NODE)
        assert nothing_lost(known[0], [look(cluster)], settled=True) == []
    finally:
        cluster.on(NODE, "sudo date -s '+2 hours'")

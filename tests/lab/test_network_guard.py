"""The network guard on real netplan: whatever dies or is wrong, the host keeps a way in.

Each test leaves the network as bootstrap makes it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.conftest import Cluster, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.long]

NODE, PEER = "spark-3", "spark-2"
RAIL = "enp1s0f1np1"
OLD, NEW = "192.168.100.11/24", "192.168.100.77/24"


def variant(cluster: Cluster, folder: Path, addresses: dict[str, str]) -> str:
    """The lab's inventory with other addresses for the rails of NODE, in a file beside it."""
    data = yaml.safe_load(cluster.inventory.read_text())
    for rail in data["hosts"][NODE]["rails"]:
        rail["address"] = addresses.get(rail["interface"], rail["address"])
    path = cluster.lab / f"{folder.name}.yaml"
    path.write_text(yaml.safe_dump(data))
    return str(path)


def address(cluster: Cluster) -> str:
    return cluster.on(NODE, f"ip -4 -o addr show {RAIL} | awk '{{print $4}}'").strip()


def network(cluster: Cluster, node: str = NODE) -> str:
    """What must be as it was: the files, and no guard left armed."""
    return cluster.on(
        node,
        "sudo sh -c 'cd /etc/netplan && sha256sum * && stat -c \"%a %n\" *'; "
        "systemctl list-timers 'spark-cluster*' --no-legend; "
        "ls /etc/systemd/system/sysinit.target.wants | grep spark-cluster-guard || true",
    )


def back(cluster: Cluster, before: str) -> bool:
    """Whether the host answers, with its old address and files."""
    try:
        return address(cluster) == OLD and network(cluster) == before
    except (Exception, pytest.fail.Exception):
        return False


def answers(cluster: Cluster, node: str = NODE) -> bool:
    try:
        return bool(cluster.on(node, "echo yes"))
    except (Exception, pytest.fail.Exception):
        return False


def start_and_kill_when_applied(cluster: Cluster, *arguments: str) -> str:
    """Run bootstrap until netplan has applied the change, then kill the controller. The run."""
    process = cluster.start("bootstrap", "--hosts", NODE, "--json", *arguments)
    run = ""
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        run = str(event.get("run", run))
        if event["kind"] == "guarded" and event["state"] == "applied":
            process.kill()
            process.wait()
            return run
    pytest.fail(f"netplan was never applied: {process.stderr and process.stderr.read()}")


def codes(events: list[dict[str, Any]]) -> set[str]:
    return {
        e["error"].get("code", "") for e in events if e["kind"] == "step_finished" and e["error"]
    }


@pytest.fixture(scope="module", autouse=True)
def ready(cluster: Cluster) -> None:
    cluster.run("bootstrap")


@pytest.fixture
def template(cluster: Cluster) -> Iterator[Path]:
    """A further template of the user's own, in the folder where the program runs."""
    folder = cluster.home / "netplan"
    folder.mkdir()
    try:
        yield folder / "70-own.yaml.j2"
    finally:
        shutil.rmtree(folder)


OWN = "netplan.templates=[40-cx7.yaml.j2, 50-10gbe.yaml.j2, 70-own.yaml.j2]"


def test_what_netplan_rejects_is_not_applied(cluster: Cluster, template: Path) -> None:
    before = network(cluster)
    template.write_text(
        "network: {version: 2, ethernets: {enp1s0f0np0: {addresses: [no-address]}}}\n"
    )
    events, _ = cluster.events("bootstrap", "--hosts", NODE, "--set", OWN, code=4)
    assert codes(events) == {"NET005"}
    assert [e["state"] for e in events if e["kind"] == "guarded"] == ["arming", "rejected"]
    assert network(cluster) == before
    assert "rejected by netplan generate" in cluster.run("history", "--nodes").stdout


def test_a_guard_that_cannot_be_armed_applies_nothing(cluster: Cluster, tmp_path: Path) -> None:
    before = network(cluster)
    cluster.on(NODE, "sudo mount --bind /bin/false /usr/bin/systemd-run")
    try:
        done = cluster.run(
            "bootstrap", "-i", variant(cluster, tmp_path, {RAIL: NEW}), "--hosts", NODE, code=1
        )
    finally:
        cluster.on(NODE, "sudo umount /usr/bin/systemd-run")
    assert "could not be armed; nothing was applied" in done.stdout
    assert (network(cluster), address(cluster)) == (before, OLD)


def test_a_peer_that_falls_silent_takes_the_change_back(cluster: Cluster, tmp_path: Path) -> None:
    """The two halves' addresses are exchanged on one host: each faces the wrong subnet."""
    before = network(cluster)
    swapped = {RAIL: "192.168.101.11/24", "enP2p1s0f1np1": "192.168.100.11/24"}
    events, last = cluster.events(
        "bootstrap", "-i", variant(cluster, tmp_path, swapped), "--hosts", f"{PEER},{NODE}",
        "--set", "netplan.guard_seconds=40", code=4,
    )  # fmt: skip
    assert "NET006" in codes(events)
    reverted = [e for e in events if e["kind"] == "guarded" and e["state"] == "reverted"]
    assert [e["host"] for e in reverted] == [NODE]
    assert f"192.168.101.10 does not answer a 8972 byte ping from {RAIL}" in reverted[0]["message"]
    assert last["counts"]["failed"] == 1
    wait_for(lambda: back(cluster, before), 60, "the old network is back")
    cluster.on(NODE, "ping -M do -c 1 -W 5 -s 8972 192.168.100.10")
    told = cluster.run("history", "last").stdout
    assert "reverted: " in told


@pytest.mark.parametrize("renderer", ["NetworkManager", "networkd"])
def test_a_controller_that_is_killed(cluster: Cluster, tmp_path: Path, renderer: str) -> None:
    """After apply and before the confirmation: the host takes the change back by itself."""
    if renderer == "networkd":
        cluster.run("lab", "fault", "networkd", NODE)
        wait_for(lambda: answers(cluster), 120, f"{NODE} answers by networkd")
        cluster.run("bootstrap", "--hosts", NODE)
    owner = "systemctl is-active NetworkManager; sudo grep -ho 'renderer: .*' /etc/netplan/*"
    running = "active" if renderer == "NetworkManager" else "inactive"
    assert set(cluster.on(NODE, owner).splitlines()) == {running, f"renderer: {renderer}"}
    before = network(cluster)
    wrong = variant(cluster, tmp_path, {RAIL: NEW})
    run = start_and_kill_when_applied(cluster, "-i", wrong, "--set", "netplan.guard_seconds=60")
    wait_for(lambda: address(cluster) == NEW, 50, "the change is in force")
    # Whoever comes now must not take the unconfirmed files for the old ones.
    events, _ = cluster.events("bootstrap", "--hosts", NODE, code=4)
    assert codes(events) == {"NET024"}
    wait_for(lambda: back(cluster, before), 180, "the old network is back by itself")
    told = cluster.run("history", "--nodes", run, "--hosts", NODE).stdout
    assert "armed for 60 s" in told
    assert "reverted" in told
    assert "broke off" in cluster.run("history").stdout
    # Another run finds nothing in its way: the kernel let go of the dead controller's lock.
    _, last = cluster.events("bootstrap", "--hosts", NODE)
    assert set(last["counts"]) <= {"ok", "skipped"}


def test_a_change_that_cuts_the_way_in(cluster: Cluster, template: Path) -> None:
    """On networkd, left so by the test before. Refused; and if insisted upon, taken back."""
    before = network(cluster)
    template.write_text(
        "# Cuts SSH off.\n"
        "network: {version: 2, renderer: networkd, "
        "ethernets: {wlP9s9: {addresses: [10.99.99.1/24]}}}\n"
    )
    wanted = ("bootstrap", "--hosts", NODE, "--set", OWN, "--take-over")
    events, _ = cluster.events(*wanted, code=4)
    assert "NET007" in codes(events)
    assert network(cluster) == before
    events, _ = cluster.events(
        *wanted, "--allow-management-interface", "--set", "netplan.guard_seconds=30", code=4
    )
    assert "NET006" in codes(events)
    assert [e for e in events if e["kind"] == "guarded" and e["state"] == "reverted"]
    assert back(cluster, before)


def test_a_reboot_while_armed(cluster: Cluster, tmp_path: Path) -> None:
    """The timer dies with the boot; the unit for the next boot puts the old files back first."""
    before = network(cluster)
    wrong = variant(cluster, tmp_path, {RAIL: NEW})
    boot = cluster.on(NODE, "cat /proc/sys/kernel/random/boot_id")
    run = start_and_kill_when_applied(cluster, "-i", wrong, "--set", "netplan.guard_seconds=900")
    cluster.on(NODE, "sudo systemctl reboot", check=False)

    def rebooted() -> bool:
        try:
            return cluster.on(NODE, "cat /proc/sys/kernel/random/boot_id") != boot
        except (Exception, pytest.fail.Exception):
            return False

    wait_for(rebooted, 420, f"{NODE} boots again")
    wait_for(lambda: back(cluster, before), 120, "the old network is back")
    assert "reverted boot" in cluster.run("history", "--nodes", run, "--hosts", NODE).stdout


def test_a_second_owner_is_refused_or_taken_over_and_comes_back(cluster: Cluster) -> None:
    cluster.run("lab", "fault", "second-owner", NODE)
    before = network(cluster)
    events, _ = cluster.events("bootstrap", "--hosts", NODE, code=4)
    assert codes(events) == {"NET003"}
    assert network(cluster) == before
    events, last = cluster.events("bootstrap", "--hosts", NODE, "--take-over")
    assert "60-someone-else" not in network(cluster)
    cluster.run("undo", "network", "--hosts", NODE, "--to", last["run"])
    assert network(cluster) == before
    cluster.run("lab", "fault", "second-owner", NODE, "--undo")
    cluster.run("lab", "fault", "networkd", NODE, "--undo")
    cluster.run("bootstrap", "--hosts", NODE)


def test_undo_goes_back_to_before_the_first_change(cluster: Cluster) -> None:
    cluster.run("undo", "network", "--hosts", PEER)
    files = cluster.on(PEER, "sudo ls /etc/netplan").split()
    assert files == ["01-network-manager-all.yaml"]
    shown = cluster.run("undo", "network", "--hosts", PEER).stdout
    assert "nothing to undo" in shown or "skipped" in shown
    wait_for(
        lambda: "192.168.100.10" not in cluster.on(PEER, "ip -4 -o addr show"),
        60,
        "the rail's address is gone",
    )
    cluster.run("bootstrap")

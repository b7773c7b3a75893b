"""QEMU's command line for a node."""

from dataclasses import replace
from pathlib import Path

import pytest

from spark_cluster.lab.machine import Machine, command
from spark_cluster.lab.topology import HALVES, INTERFACES, Node


@pytest.fixture
def machine() -> Machine:
    return Machine(
        node=Node(2),
        accel="tcg",
        memory_mib=2048,
        kernel=Path("/c/vmlinuz"),
        initrd=Path("/c/initrd"),
        disk=Path("/s/spark-2.qcow2"),
        sockets=Path("/s/run"),
        console=Path("/s/spark-2.console"),
        ssh_port=2222,
        api_port=8888,
    )


def after(words: list[str], option: str) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == option]


def test_every_interface_has_its_own_nic_and_backend(machine: Machine) -> None:
    words = command(machine)
    nics = [word for word in after(words, "-device") if word.startswith("virtio-net")]
    assert [nic.split("id=")[1].split(",")[0] for nic in nics] == list(INTERFACES)
    backends = after(words, "-netdev")
    assert len({backend.split("id=")[1].split(",")[0] for backend in backends}) == len(INTERFACES)
    assert len({backend.rpartition("hubid=")[2] for backend in backends}) == len(INTERFACES)
    assert all("romfile=" in nic for nic in nics)


def test_only_the_management_nic_reaches_out_and_only_to_loopback(machine: Machine) -> None:
    backends = after(command(machine), "-netdev")
    users = [backend for backend in backends if backend.startswith("user,")]
    assert len(users) == 1
    assert "restrict=on" in users[0]
    assert "hostfwd=tcp:127.0.0.1:2222-:22" in users[0]
    assert "hostfwd=tcp:127.0.0.1:8888-:8000" in users[0]
    assert len(backends) - len(users) == len(HALVES) + 1


def test_it_starts_paused_so_that_cables_are_there_first(machine: Machine) -> None:
    assert "-S" in command(machine)


def test_memory_is_shared_to_save_and_private_to_restore(machine: Machine) -> None:
    saving = command(replace(machine, ram=Path("/t/ram"), ram_shared=True))
    assert after(saving, "-object") == [
        "memory-backend-file,id=ram,size=2048M,mem-path=/t/ram,share=on"
    ]
    restoring = command(replace(machine, ram=Path("/c/ram"), incoming=True))
    assert "share=off" in after(restoring, "-object")[0]
    assert after(restoring, "-incoming") == ["defer"]
    assert "-incoming" not in command(machine)


def test_the_node_is_told_who_it_is(machine: Machine) -> None:
    line = after(command(machine), "-append")[0]
    assert "spark.node=2" in line
    assert f"systemd.machine_id={machine.node.machine_id}" in line
    assert len(machine.node.machine_id) == 32


def test_addresses_are_fixed_only_where_code_is_translated(machine: Machine) -> None:
    assert "norandmaps" in after(command(machine), "-append")[0]
    assert "norandmaps" not in after(command(replace(machine, accel="kvm")), "-append")[0]

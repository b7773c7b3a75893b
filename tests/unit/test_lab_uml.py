"""User-mode nodes, as far as no kernel is needed: cables, command line, console, switchboard."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from spark_cluster.lab.machine import Machine
from spark_cluster.lab.topology import HALVES, INTERFACES, TOPOLOGIES, Node, topology
from spark_cluster.lab.uml import kernel, mconsole, network, switchboard
from spark_cluster.lab.uml.command import command, console, files


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(
        node=Node(2),
        accel="uml",
        memory_mib=1024,
        kernel=Path("/c/kernel/linux"),
        initrd=Path("/c/initrd"),
        disk=Path("/s/a lab, mine/spark-2.cow"),
        sockets=tmp_path / "run",
        console=tmp_path / "spark-2.console",
        ssh_port=2222,
        api_port=8888,
        base_disk=Path("/c/node 1/disk.img"),
        extra_disks=(Path("/c/kernel/modules.tar"),),
        namespace=77,
        dark=HALVES[:2],
    )


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_every_interface_of_every_node_has_a_socket(name: str) -> None:
    plan = topology(name)
    made: list[str] = []
    for line in network.links(plan):
        words = line.split()
        if "veth" in words:
            made += [words[2], words[words.index("name") + 1]]
    assert len(made) == len(set(made))
    wanted = {network.port(node, i) for node in plan.nodes for i in INTERFACES}
    assert wanted <= set(made)
    assert all(len(each) <= 15 for each in made)  # the kernel's limit on a name


def test_a_cable_is_a_pair_with_a_node_at_each_end() -> None:
    lines = network.links(topology("pair"))
    assert "link add n2i4 mtu 9216 type veth peer name n3i4 mtu 9216" in lines


def test_nodes_meet_on_the_ethernet_segment_but_not_over_wifi() -> None:
    lines = network.links(topology("pair"))
    for number in (1, 2, 3):
        assert f"link set n{number}i1x master segment0" in lines
        assert f"link set n{number}i0x master wifi" in lines
        assert f"link set n{number}i0x type bridge_slave isolated on" in lines


def test_a_switch_is_a_segment_for_each_half() -> None:
    masters = [line for line in network.links(topology("switch")) if "master segment" in line]
    assert "link set n3i4x master segment1" in masters
    assert "link set n1i2x master segment1" in masters
    assert "link set n1i3x master segment2" in masters


def test_every_card_sits_on_its_own_end_with_its_own_address(machine: Machine) -> None:
    cards = [word for word in command(machine, 7, "2500.0") if word.startswith("vec")]
    assert len(cards) == len(INTERFACES)
    for i, interface in enumerate(INTERFACES):
        assert cards[i].startswith(f"vec{i}:transport=raw,ifname=n2i{i},")
        assert f"mac={machine.node.mac(interface)}" in cards[i]


def test_no_path_of_the_machine_is_cut_by_the_kernel(machine: Machine) -> None:
    """A user-mode kernel splits its command line at spaces and a disk's name at commas."""
    words = command(machine, 7, "2500.0")
    assert "ubda=n2.disk,n2.base" in words
    assert "ubdbr=n2.extra0" in words
    assert files(machine)["n2.disk"] == machine.disk
    assert not any(" " in word for word in words)


def test_the_node_is_told_who_it_is_and_which_halves_are_dark(machine: Machine) -> None:
    words = command(machine, 7, "2500.0")
    assert "spark.node=2" in words
    assert f"systemd.machine_id={machine.node.machine_id}" in words
    assert "spark.dark=enp1s0f0np0,enP2p1s0f0np0" in words
    assert {"ssl0=fd:7", "spark.agent"} <= set(words)


def test_without_a_network_there_are_no_cards_and_no_agent(machine: Machine) -> None:
    words = command(replace(machine, namespace=0, init="/bin/sh"), None, "1")
    assert not any(word.startswith(("vec", "ssl0")) for word in words)
    assert words[-1] == "init=/bin/sh"


def test_the_console_answers_in_parts_and_refuses_in_words(tmp_path: Path) -> None:
    folder = tmp_path / "n2"
    folder.mkdir()
    asked: list[str] = []

    def answer(*parts: tuple[int, int, bytes]) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as kernel_side:
            kernel_side.bind(str(folder / "mconsole"))
            ready.set()
            data, sender = kernel_side.recvfrom(4096)
            magic, version, length = struct.unpack_from("=III", data)
            assert (magic, version) == (0xCAFEBABE, 2)
            asked.append(data[12 : 12 + length].decode())
            for failed, more, text in parts:
                kernel_side.sendto(struct.pack("=III", failed, more, len(text)) + text, sender)
        (folder / "mconsole").unlink()

    for parts, said in (
        (((0, 1, b"one "), (0, 0, b"two\n\0")), "one two"),
        (((1, 0, b"no such device"),), None),
    ):
        ready = threading.Event()
        thread = threading.Thread(target=answer, args=parts)
        thread.start()
        assert ready.wait(10)
        if said is None:
            with pytest.raises(mconsole.ConsoleError, match="refused remove: no such device"):
                mconsole.ask(folder / "mconsole", "remove vec9")
        else:
            assert mconsole.ask(folder / "mconsole", "version") == said
        thread.join(10)
    assert asked == ["version", "remove vec9"]
    assert list(tmp_path.glob("*.mc")) == []


def test_a_console_that_is_not_there_says_how_to_get_one(machine: Machine) -> None:
    machine.sockets.mkdir()
    with pytest.raises(mconsole.ConsoleError) as error:
        mconsole.ask(console(machine), "stop", limit=1)
    assert "lab up" in error.value.remedy


def dhcp(kind: int, mac: str, wanted: str | None = None) -> bytes:
    head = (
        struct.pack("!BBBBI", 1, 1, 6, 0, 0x1234) + bytes(20) + bytes.fromhex(mac.replace(":", ""))
    )
    text = b"\x63\x82\x53\x63" + bytes((53, 1, kind))
    if wanted:
        text += bytes((50, 4)) + socket.inet_aton(wanted)
    return head.ljust(236, b"\0") + text + b"\xff"


LEASES = network.leases(topology("pair"))
MAC = Node(3).mac("wlP9s9")


def test_a_card_is_offered_its_address_and_gets_it() -> None:
    offer = switchboard.answer(dhcp(1, MAC), LEASES, network.GATEWAY)
    assert offer is not None
    assert socket.inet_ntoa(offer[16:20]) == "10.7.7.13"
    told = switchboard.options(offer)
    assert told[53] == b"\x02"
    assert told[1] == bytes((255, 255, 255, 0))
    assert 3 not in told  # no way out of the lab
    taken = switchboard.answer(dhcp(3, MAC, "10.7.7.13"), LEASES, network.GATEWAY)
    assert taken is not None
    assert switchboard.options(taken)[53] == b"\x05"


def test_another_address_is_refused_and_a_stranger_is_not_answered() -> None:
    refused = switchboard.answer(dhcp(3, MAC, "10.7.7.99"), LEASES, network.GATEWAY)
    assert refused is not None
    assert switchboard.options(refused)[53] == b"\x06"
    assert switchboard.answer(dhcp(1, "52:54:00:00:00:01"), LEASES, network.GATEWAY) is None
    for junk in (b"", b"\1" * 239, dhcp(1, MAC)[:240], dhcp(1, MAC)[:242] + b"\x35"):
        assert switchboard.answer(junk, LEASES, network.GATEWAY) is None


def test_connections_are_carried_with_their_ends() -> None:
    async def scene() -> bytes:
        async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.read()).upper())  # answers only when the caller has ended
            writer.close()

        node = await asyncio.start_server(upper, "127.0.0.1", 0)
        port = node.sockets[0].getsockname()[1]
        outside = socket.create_server(("127.0.0.1", 0))
        at = outside.getsockname()[1]
        await switchboard.forward(outside, "127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", at)
        writer.write(b"hello")
        writer.write_eof()
        said = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return said

    assert asyncio.run(scene()) == b"HELLO"


def test_callers_of_an_agent_take_turns_and_a_dead_node_hangs_up(tmp_path: Path) -> None:
    async def scene() -> list[bytes]:
        wire = switchboard.Line()
        await asyncio.start_unix_server(wire.plugged, tmp_path / "line")
        await asyncio.start_unix_server(wire.called, tmp_path / "qga")
        heard = []
        reader, writer = await asyncio.open_unix_connection(tmp_path / "qga")
        heard.append(await asyncio.wait_for(reader.read(), 10))  # no node: hung up
        writer.close()
        node_in, node_out = await asyncio.open_unix_connection(tmp_path / "line")
        for word in (b"first", b"second"):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "qga")
            writer.write(word)
            assert await asyncio.wait_for(node_in.readexactly(len(word)), 10) == word
            node_out.write(word.upper())
            heard.append(await asyncio.wait_for(reader.readexactly(len(word)), 10))
            writer.close()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "qga")
        writer.write(b"x")
        await asyncio.wait_for(node_in.readexactly(1), 10)
        node_out.close()
        heard.append(await asyncio.wait_for(reader.read(), 10))
        writer.close()
        return heard

    assert asyncio.run(scene()) == [b"", b"FIRST", b"SECOND", b""]


def test_sources_are_tried_newest_first() -> None:
    names = ["linux-source-6.12", "linux-source-7.3", "linux-source", "linux-source-7.2"]
    assert kernel.newest_first(names) == [
        "linux-source-7.3", "linux-source-7.2", "linux-source-6.12",
    ]  # fmt: skip


def test_an_option_that_a_version_does_not_know_is_not_missed() -> None:
    asked = "# why\nCONFIG_NET=y\nCONFIG_RDMA_RXE=m\nCONFIG_GONE=y\n"
    written = "CONFIG_NET=y\n# CONFIG_RDMA_RXE is not set\n"
    missing = kernel.missing_options(asked, written, {"NET", "RDMA_RXE"})
    assert missing == ["CONFIG_RDMA_RXE=m"]


def test_the_kernels_options_are_each_asked_for_once() -> None:
    lines = [x for x in kernel.CONFIG.read_text().splitlines() if x.startswith("CONFIG_")]
    names = [line.partition("=")[0] for line in lines]
    assert len(names) == len(set(names))


def test_a_caller_that_breaks_off_is_gone_for_the_node_too() -> None:
    """A reset, as of a killed controller: its sshd must let go of the lock."""

    async def scene() -> bytes:
        left = asyncio.get_running_loop().create_future()

        async def node(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"unread")
            await writer.drain()
            left.set_result(await reader.read())
            writer.close()

        async with await asyncio.start_server(node, "127.0.0.1", 0) as far:
            listening = socket.create_server(("127.0.0.1", 0))
            port = far.sockets[0].getsockname()[1]
            await switchboard.forward(listening, "127.0.0.1", port)
            caller = socket.create_connection(listening.getsockname())
            await asyncio.get_running_loop().run_in_executor(None, caller.recv, 1)
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            caller.close()
            return await asyncio.wait_for(left, 10)

    assert asyncio.run(scene()) == b""


@pytest.mark.parametrize("distribution", ["debian", "ubuntu"])
def test_a_source_package_is_unpacked_as_each_distribution_packs_it(
    tmp_path: Path, distribution: str
) -> None:
    tree = tmp_path / "linux-6.8"
    (tree / "kernel").mkdir(parents=True)
    (tree / "Kbuild").write_text("obj-y += kernel/\n")
    (tree / "Documentation" / "a").mkdir(parents=True)
    (tree / "Documentation" / "a" / "page").write_text("left out\n")
    package = tmp_path / "package"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "DEBIAN" / "control").write_text(
        "Package: linux-source-6.8\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: b\n"
    )
    where, kind = package / "usr/src", "xz"
    if distribution == "ubuntu":
        where, kind = where / "linux-source-6.8", "bz2"
    where.mkdir(parents=True)
    archive = where / f"linux-source-6.8.tar.{kind}"
    subprocess.run(["tar", "-caf", archive, "linux-6.8"], cwd=tmp_path, check=True)
    if distribution == "ubuntu":
        (package / "usr/src" / archive.name).symlink_to(f"linux-source-6.8/{archive.name}")
    deb, scratch, source = tmp_path / "k.deb", tmp_path / "scratch", tmp_path / "source"
    scratch.mkdir()
    source.mkdir()
    subprocess.run(["dpkg-deb", "-Zgzip", "--build", package, deb], check=True, capture_output=True)
    shell = ["bash", "-eo", "pipefail", "-c", kernel.unpacking(deb, scratch, source)]
    subprocess.run(shell, check=True)
    assert (source / "Kbuild").exists()
    assert not (source / "Documentation" / "a" / "page").exists()
    assert not list(scratch.iterdir())

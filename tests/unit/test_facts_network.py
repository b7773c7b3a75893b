"""Facts of the network and of RDMA: each parser on what the real commands print."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_cluster.facts import links, netplan, probe
from spark_cluster.facts.links import LINKS, PING
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.rdma import ACCESS, GIDS, LIMITS_FILE, MODULES_FILE
from spark_cluster.rdma.gids import find_gid

from . import world
from .shell import sh
from .world import context, recorded

# links: `ip -j addr show` of iproute2 6.x, then `NAME disable_ipv6`


def test_links_of_a_healthy_spark() -> None:
    found = LINKS.parse(world.healthy("links", "spark-2")).links
    assert set(found) == {"lo", "enP7s7", "enp1s0f1np1", "enP2p1s0f1np1"}
    rail = found["enp1s0f1np1"]
    assert (rail.mtu, rail.up, rail.carrier) == (9000, True, True)
    assert (rail.ipv4, rail.ipv6, rail.ipv6_off) == (("192.168.100.10/24",), (), True)
    assert found["enP7s7"].ipv6 == ("fe80::4ebb:47ff:fe2c:b02/64",)
    assert found["enP7s7"].ipv6_off is None


def test_links_as_iproute2_prints_them() -> None:
    found = LINKS.parse(recorded("ip-addr-6.1.json")).links
    assert (found["ifb0"].up, found["ifb0"].carrier, found["ifb0"].mtu) == (False, False, 1500)
    assert found["ifb0"].ipv4 == ()
    assert found["eth0"].ipv4 == ("10.0.0.5/24", "10.0.0.6/32")
    assert found["eth0"].ipv6 == ("fe80::1/64",)
    assert found["eth0"].ipv6_off is False
    assert found["veth1"].up
    assert not found["veth1"].carrier


@pytest.mark.parametrize(
    "text",
    [
        '[{"ifname": "a", "mtu": "x", "flags": 3, "addr_info": 7}]',
        '[{"ifname": "a", "mtu": null, "flags": null}, 1, null, {"mtu": 1}]',
        '[{"ifname": "a", "addr_info": [{"family": "inet", "local": "1.2.3.4"}, 3]}]',
        '{"ifname": "a"}',
        "[" * 5000,
        "sh: 1: ip: not found",
    ],
)
def test_links_of_odd_json(text: str) -> None:
    found = LINKS.parse(text).links
    assert all(link.mtu == 0 and link.ipv4 == () for link in found.values())


# netplan


def test_netplan_files_keep_mode_content_and_interfaces() -> None:
    fact = netplan.parse(recorded("netplan.txt"))
    assert fact.renderer == "NetworkManager"
    assert set(fact.files) == {
        "/etc/netplan/01-wifi.yaml",
        "/etc/netplan/40-cx7.yaml",
        "/etc/netplan/90-broken.yaml",
        "/lib/netplan/00-network-manager-all.yaml",
    }
    wifi = fact.files["/etc/netplan/01-wifi.yaml"]
    assert wifi.mode == "644"
    assert wifi.interfaces == frozenset({"wlP9s9", "enx*", "br0"})
    rails = fact.files["/etc/netplan/40-cx7.yaml"]
    assert rails.interfaces == frozenset({"enp1s0f0np0", "enp1s0f1np1"})
    assert rails.content.endswith("link-local: [ipv4]\n")
    assert fact.files["/etc/netplan/90-broken.yaml"].interfaces is None
    assert fact.files["/lib/netplan/00-network-manager-all.yaml"].interfaces == frozenset()


@pytest.mark.parametrize(
    ("first", "renderer"),
    [
        ("active", "NetworkManager"),
        ("inactive", "networkd"),
        ("sh: 1: systemctl: not found", "networkd"),
        ("", "networkd"),
    ],
)
def test_netplan_renderer(first: str, renderer: str) -> None:
    assert netplan.parse(f"{first}\n").renderer == renderer


@pytest.mark.parametrize(
    "content",
    ["network: [1]", "- a", "network: {ethernets: !!bool x}", "a: b: c", "[" * 600, "? [a]\n: b"],
)
def test_a_netplan_file_that_is_none(content: str) -> None:
    assert netplan.interfaces(content) is None


@pytest.mark.parametrize("content", ["", "network:\n", "# nothing\n", "network: {version: 2}\n"])
def test_a_netplan_file_without_interfaces(content: str) -> None:
    assert netplan.interfaces(content) == frozenset()


# gids, access


def test_gids_of_a_healthy_spark() -> None:
    table = GIDS.parse(world.healthy("gids", "spark-3"))["roceP2p1s0f1"]
    assert table.netdev == "enP2p1s0f1np1"
    entry = find_gid(table.entries, "192.168.101.11")
    assert entry is not None
    assert entry.index == 3


def test_access_of_a_healthy_spark() -> None:
    fact = ACCESS.parse(world.healthy("access", "spark-2"))
    assert fact.cm
    assert fact.states == {
        "rocep1s0f0": "DOWN",
        "rocep1s0f1": "ACTIVE",
        "roceP2p1s0f0": "DOWN",
        "roceP2p1s0f1": "ACTIVE",
    }
    assert fact.modules_file.endswith("rdma_ucm\n")
    assert fact.limits_file.endswith("root hard memlock unlimited\n")


def test_access_where_nothing_is() -> None:
    fact = ACCESS.parse(f"no-cm\n@@ {MODULES_FILE}\n\n@@ {LIMITS_FILE}")
    assert (fact.cm, fact.states, fact.modules_file, fact.limits_file) == (False, {}, "", "")


def test_access_runs_where_the_files_have_no_last_newline(tmp_path: Path) -> None:
    """Such a file must not swallow what is printed after it."""
    modules, limits = tmp_path / "modules.conf", tmp_path / "limits.conf"
    modules.write_text("rdma_ucm")
    limits.write_text("* soft memlock 64")
    script = probe.script([ACCESS, MEMORY], context())
    script = script.replace(f"cat {MODULES_FILE}", f"cat {modules}")
    script = script.replace(f"cat {LIMITS_FILE}", f"cat {limits}")
    output = sh(script)
    assert probe.complete(output)
    fact = probe.parse(output, [ACCESS, MEMORY])
    assert fact[ACCESS].modules_file == "rdma_ucm\n"
    assert fact[ACCESS].limits_file == "* soft memlock 64\n"
    assert fact[MEMORY].total > 0


# ping


def test_pings() -> None:
    text = "b 10.0.0.2 8972 no\na 10.0.0.1 8972 yes\nrubbish\na b c d\n"
    pings = PING.parse(text).pings
    assert [(p.interface, p.peer, p.size, p.answered) for p in pings] == [
        ("a", "10.0.0.1", 8972, True),
        ("b", "10.0.0.2", 8972, False),
    ]


def test_the_ping_script_asks_every_peer_on_every_rail_unfragmented() -> None:
    script = PING.script(context("spark-2"))
    for interface, peer in (
        ("enp1s0f1np1", "192.168.100.11"),
        ("enP2p1s0f1np1", "192.168.101.11"),
    ):
        assert f"-M do -c 2 -i 0.3 -w 3 -s 8972 -I {interface} {peer} " in script
    assert script.count("ping -q") == 2
    assert links.PING_OVERHEAD == 28

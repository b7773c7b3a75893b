"""The doctor's own facts: recorded output, rubbish, and what a packet filter does to a packet."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spark_cluster.doctor.cluster import FACTS
from spark_cluster.doctor.packets import Packet, verdict
from spark_cluster.facts import probe
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.cache import CACHE, Space
from spark_cluster.facts.clock import CLOCK
from spark_cluster.facts.connectx import CONNECTX
from spark_cluster.facts.firewall import FIREWALL, FirewallFact
from spark_cluster.facts.gpu_state import GPU_STATE, GpuOwner
from spark_cluster.facts.hardware import HARDWARE, Nic
from spark_cluster.facts.kernel_log import KERNEL_LOG
from spark_cluster.facts.limits import LIMITS
from spark_cluster.facts.login import LOGIN
from spark_cluster.facts.memory_pressure import MEMORY_PRESSURE
from spark_cluster.facts.routes import ROUTES, Route
from spark_cluster.facts.software import SOFTWARE

from . import world
from .test_doctor import text

FOLDER = world.DATA / "doctor"
OWN = (
    HARDWARE, ROUTES, FIREWALL, LOGIN, MEMORY_PRESSURE, CACHE, SOFTWARE, GPU_STATE, CONNECTX,
    KERNEL_LOG, LIMITS, CLOCK,
)  # fmt: skip


def recorded(path: str) -> str:
    return (FOLDER / path).read_text(encoding="utf-8")


# What hosts print


def test_the_hardware_of_a_spark() -> None:
    found = HARDWARE.parse(text("hardware", "spark-2"))
    assert found.nics["enp1s0f1np1"] == Nic("enp1s0f1np1", 200_000, "mlx5_core", 4, 32.0, False)
    assert found.nics["wlP9s9"].wifi
    assert found.firmware["roceP2p1s0f1"] == "28.47.1088"
    assert {"uverbs0", "rdma_cm"} <= found.verbs


def test_the_hardware_of_a_lab_node_tells_no_speed() -> None:
    found = HARDWARE.parse(text("hardware", "spark-2", "lab"))
    assert found.nics["enp1s0f1np1"] == Nic("enp1s0f1np1", None, "virtio_net")
    assert found.firmware == {}


def test_routes_and_profiles() -> None:
    found = ROUTES.parse(recorded("lab/routes.txt"))
    assert found.forwarding is True
    assert found.default_devices == ("wlP9s9",)
    assert found.routes[0] == Route("default", "wlP9s9", "10.7.7.2")
    assert {p.device for p in found.profiles if p.of_netplan} == {
        "enP7s7", "enP2p1s0f1np1", "enp1s0f1np1",
    }  # fmt: skip
    names = {p.name for p in ROUTES.parse(text("routes", "spark-2")).profiles}
    assert "home: upstairs" in names


def test_login() -> None:
    assert LOGIN.parse("RemoveIPC=yes\nRemoveIPC=no\nuid=0\n").remove_ipc is False
    assert LOGIN.parse("uid=1000\nmemlock=8192\n").uid == 1000
    assert LOGIN.parse("").remove_ipc


def test_load() -> None:
    found = MEMORY_PRESSURE.parse(recorded("lab/memory-pressure.txt"))
    assert found.processes[0].name == "VLLM::Worker_TP"
    assert found.processes[0].rss == 105308 * 1024
    assert (found.oom_kills, found.shared) == (0, 3336 * 1024)
    assert found.units["earlyoom"] == "inactive"


def test_cache() -> None:
    found = CACHE.parse(recorded("lab/cache.txt"))
    assert found.spaces == (Space("/", 6962049024, 8350298112),)
    (cache,) = found.caches
    assert (cache.kind, cache.disk, cache.rotational, cache.read_ahead) == (
        "ext4",
        "vda",
        True,
        128,
    )
    assert CACHE.parse("cache /opt/hf\nforeign root a b\nforeign 0 c\n").caches[0].foreign == 2


def test_software() -> None:
    found = SOFTWARE.parse(text("software", "spark-2"))
    assert found.toolkit == "1.18.0"
    assert set(found.images) == {"nvcr.io/nvidia/vllm:25.11-py3", "busybox:latest"}
    assert found.images["busybox:latest"].digest == ""


def test_the_gpu_while_it_serves() -> None:
    found = GPU_STATE.parse(recorded("facts/gpu-state-serving.txt"))
    assert (found.sm_mhz, found.watts, found.utilization, found.reasons) == (2405, 36.12, 96, 0)
    container = "b57df5463a5f48efc3c92433ecc5676e19d30247af34ccf942c1af6d46cea0f1"
    assert found.owners[0] == GpuOwner(1655, 0, container)


def test_a_gpu_that_tells_nothing() -> None:
    found = GPU_STATE.parse("state,[N/A], [N/A], [N/A], [N/A], [N/A], [N/A]\n")
    assert (found.sm_mhz, found.reasons) == (None, None)


def test_clock() -> None:
    found = CLOCK.parse(text("clock", "spark-2"))
    assert (found.epoch, found.uptime, found.synchronized) == (1795236746.282420613, 86402.05, True)


# Rubbish

TEXT = st.text(
    st.sampled_from('abc =:,/-\n\t\0²9{}[]"@!') | st.characters(codec="utf-8"), max_size=300
)


@pytest.mark.parametrize("fact", OWN, ids=lambda fact: fact.name)
def test_a_parser_never_raises(fact: Fact[object]) -> None:
    @settings(max_examples=80, deadline=None, database=None)
    @given(TEXT)
    @example("epoch=" + "9" * 400)
    @example("state," + "9" * 400)
    @example("owner ² x y")
    @example("-A INPUT\n-A INPUT !\n-A INPUT -i\n-P\n-A INPUT -m\n'")
    @example('@@nft\n{"nftables": [{"rule": {"family": "ip", "expr": [{"vmap": 3}, 4]}}]}')
    @example(
        '@@nft\n{"nftables": [{"rule": {"family": "ip", "expr": [{"match": {"left": 1}}]}}, 3]}'
    )
    @example('@@nft\n{"nftables": [{"chain": {"family": "ip", "hook": 3}}, {"rule": null}]}')
    @example("@@nft\n" + "[" * 5000)
    @example("route\nroute dev\nprofile :\nforwarding ²")
    @example("lines 1\nsaid aer " + "9" * 400 + " [" + "9" * 400)
    @example("/sys/devices/x/0000:01:00.0/aer_dev_fatal:TOTAL_ERR_FATAL " + "9" * 400)
    @example("swappiness ²\ncontainerd " + "9" * 400 + '\ndocker "Soft":--1')
    def run(given: str) -> None:
        fact.parse(given)
        fact.parse(f"cache x\n{given}")

    run()


def texts() -> Iterator[tuple[Fact[object], str]]:
    for fact in OWN:
        for kind in ("spark", "lab"):
            yield fact, text(fact.name, "spark-2", kind)
    for path in sorted((FOLDER / "firewall").glob("*.txt")):
        yield FIREWALL, path.read_text(encoding="utf-8")


def test_a_parser_survives_a_host_that_was_cut_off() -> None:
    for fact, whole in texts():
        for end in range(0, len(whole), max(1, len(whole) // 60)):
            fact.parse(whole[:end])
        fact.parse(whole.replace("\n", "\nsh: 1: something: not found\n"))


# Packets


def filters(name: str) -> FirewallFact:
    return FIREWALL.parse(recorded(f"firewall/{name}.txt"))


def rail(port: int, proto: str = "tcp", iif: str = "enp1s0f1np1") -> Packet:
    return Packet(iif, proto, port, "192.168.100.11", "192.168.100.10")


@pytest.mark.parametrize(
    ("name", "packet", "kind"),
    [
        ("docker", rail(40000), "accept"),
        ("rail-dropped", rail(40000), "drop"),
        ("rail-dropped", rail(40000, iif="enP2p1s0f1np1"), "accept"),
        ("ray-port-dropped", rail(6379), "drop"),
        ("ray-port-dropped", rail(6379, "udp"), "accept"),
        ("ufw-ssh-only", rail(22), "accept"),
        ("ufw-ssh-only", rail(40000), "drop"),
        ("ufw-rails-allowed", rail(40000), "accept"),
        ("ufw-rails-allowed", rail(8000, iif="wlP9s9"), "accept"),
        ("ufw-rails-allowed", rail(8001, iif="wlP9s9"), "drop"),
        ("nft-inet", rail(6379), "accept"),
        ("nft-inet", rail(8005, iif="enP2p1s0f1np1"), "accept"),
        ("nft-inet", rail(8011), "drop"),
        ("nft-inet", rail(4791, "udp"), "accept"),
        ("nft-inet", rail(53, "udp", "wlP9s9"), "accept"),
        ("nft-inet", rail(9), "drop"),
    ],
)
def test_what_becomes_of_a_packet(name: str, packet: Packet, kind: str) -> None:
    assert verdict(filters(name), "input", packet).kind == kind


def test_a_rule_that_is_not_understood_gives_no_certainty() -> None:
    fact = FIREWALL.parse(
        "-P INPUT DROP\n-A INPUT -m set --match-set friends src -j ACCEPT\n-A INPUT -j DROP\n"
    )
    assert verdict(fact, "input", rail(6379)).kind == "unknown"
    assert verdict(FIREWALL.parse(""), "input", rail(6379)).kind == "accept"


def test_a_loop_of_chains_ends() -> None:
    fact = FIREWALL.parse("-P INPUT DROP\n-N a\n-A INPUT -j a\n-A a -j a\n")
    assert verdict(fact, "input", rail(6379)).kind == "unknown"


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(st.sampled_from(
    ["-P INPUT DROP", "-N x", "-A INPUT -j x", "-A x -j RETURN", "-A INPUT ! -i lo -j DROP",
     "-A x -s 192.168.0.0/99 -j DROP", "-A INPUT -p tcp --dport http -j DROP",
     "-A INPUT --dports 1:2:3 -j ACCEPT", "-A x -s 1.1.1.1:2 -j ACCEPT", "-A INPUT -d x -j x"]
)))  # fmt: skip
def test_a_verdict_never_raises(lines: list[str]) -> None:
    assert verdict(FIREWALL.parse("\n".join(lines)), "input", rail(6379)).kind in (
        "accept", "drop", "unknown",
    )  # fmt: skip


# The shell


def test_the_probe_runs_in_sh_and_ends() -> None:
    inventory = world.inventory()
    context = ProbeContext(inventory.hosts["spark-2"], inventory)
    script = probe.script(
        [HARDWARE, ROUTES, LOGIN, MEMORY_PRESSURE, CACHE, CONNECTX, KERNEL_LOG, LIMITS, CLOCK],
        context,
    )
    done = subprocess.run(["/bin/sh"], input=script, text=True, capture_output=True, timeout=60)
    assert probe.complete(done.stdout)
    found = probe.parse(done.stdout, [MEMORY_PRESSURE, CLOCK])
    assert found[CLOCK].epoch is not None


def test_the_whole_probe_is_valid_sh() -> None:
    inventory = world.inventory()
    for host in inventory.hosts.values():
        script = probe.script(FACTS, ProbeContext(host, inventory))
        done = subprocess.run(["/bin/sh", "-n"], input=script, text=True, capture_output=True)
        assert (done.returncode, done.stderr) == (0, "")

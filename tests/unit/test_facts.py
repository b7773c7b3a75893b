"""Facts: each parser on what the real commands print, on rubbish, and the probe in a real sh."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spark_cluster.facts import links, netplan, probe
from spark_cluster.facts.base import Fact, Facts, ProbeContext
from spark_cluster.facts.docker import CONTAINERS, DOCKER, IMAGE
from spark_cluster.facts.gpu import GPU, GpuProcess
from spark_cluster.facts.host import HOST
from spark_cluster.facts.links import LINKS, PING
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.facts.rdma import ACCESS, GIDS, LIMITS_FILE, MODULES_FILE
from spark_cluster.facts.serving import SERVER
from spark_cluster.facts.storage import DISK, FILES, MODEL, PORTS
from spark_cluster.facts.table import FACTS
from spark_cluster.rdma.gids import find_gid

from . import world

KIB = 1024


def recorded(name: str) -> str:
    """A recorded output."""
    return (world.DATA / "facts" / name).read_text(encoding="utf-8")


def context(host: str = "spark-2", *, deployed: bool = False) -> ProbeContext:
    return ProbeContext(
        world.inventory().hosts[host],
        world.inventory(),
        world.deployment() if deployed else None,
    )


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


# memory, swap


def test_memory_of_proc_meminfo() -> None:
    fact = MEMORY.parse(world.healthy("memory", "spark-2"))
    assert fact.total == 125513676 * KIB
    assert fact.available == 121563244 * KIB
    assert fact.droppable == (403456 + 76052 - 26348 - 154880) * KIB


def test_memory_is_never_negative() -> None:
    assert MEMORY.parse("Cached: 5 kB\nShmem: 9 kB\n").droppable == 0


def test_swap_of_proc_swaps_and_fstab() -> None:
    fact = SWAP.parse(recorded("swap.txt"))
    assert fact.active == {"/swap.img": 8388604 * KIB, "/dev/nvme0n1p3": 2097148 * KIB}
    assert fact.boot == (
        "/swap.img\tnone\tswap\tsw\t0\t0",
        "UUID=1b2c none swap sw 0 0",
    )


def test_no_swap_at_all() -> None:
    none = SWAP.parse("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\n")
    assert (none.active, none.boot, none.read) == ({}, (), True)
    assert not SWAP.parse("").read


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("/swap.img none swap sw 0 0", True),
        ("/swap.img\tnone\tswap\tdefaults\t0\t0", True),
        ("UUID=8a1c-22 none swap sw,pri=5 0 0", True),
        ("  /swap.img none swap sw 0 0", True),
        ("#/swap.img none swap sw 0 0", False),
        ("# off by spark-cluster: /swap.img none swap sw 0 0", False),
        ("UUID=77 / ext4 errors=remount-ro 0 1", False),
        ("/dev/sda1 /swap ext4 defaults 0 2", False),
    ],
)
def test_the_swap_lines_of_fstab(tmp_path: Path, line: str, found: bool) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(f"# /etc/fstab\n{line}\n")
    text = sh(SWAP.script(context()).replace("/etc/fstab", str(fstab)))
    assert SWAP.parse(text).boot == ((line.strip(),) if found else ())


# docker


@pytest.mark.parametrize(
    ("text", "version", "gpu", "in_group"),
    [
        ("info 28.5.1 io.containerd.runc.v2,nvidia,runc,\ngroups a docker", "28.5.1", "runtime", 1),
        ("info 28.5.1 runc,\ncdi /etc/cdi/nvidia.yaml\ngroups a", "28.5.1", "cdi", 0),
        ("info 27.0.3 runc,\nhook /usr/bin/x\ngroups root", "27.0.3", "hook", 1),
        ("info 27.0.3 runc,\ngroups a dockers", "27.0.3", "", 0),
    ],
)
def test_docker_info(text: str, version: str, gpu: str, in_group: int) -> None:
    fact = DOCKER.parse(text)
    assert (fact.version, fact.gpu, fact.in_group) == (version, gpu, bool(in_group))
    assert fact.error == ""


def test_docker_down_says_what_docker_says() -> None:
    fact = DOCKER.parse(recorded("docker-down.txt"))
    assert fact.version == ""
    assert "Cannot connect to the Docker daemon" in fact.error
    assert DOCKER.parse("").error


def test_containers_of_inspect_and_top() -> None:
    fact = CONTAINERS.parse(recorded("containers.txt"))
    assert fact.error == ""
    head, worker = fact.containers
    assert (head.name, head.state, head.exit_code) == ("vllm-head", "running", 0)
    assert head.started == "2026-11-21T03:15:42.123456789Z"
    assert head.label("recipe") == "qwen3-vl-235b"
    assert head.label("nothing") == ""
    assert head.processes == (
        (4211, "/usr/bin/python3 /usr/local/bin/ray start --head --port=6379 --block"),
        (4877, "/usr/bin/python3 /usr/local/bin/vllm serve org/model --port 8000"),
    )
    assert head.runs("vllm serve")
    assert not head.runs("vllm bench")
    assert (worker.name, worker.running, worker.exit_code) == ("old", False, 137)
    assert worker.processes == ()
    assert fact.named("old") is worker
    assert fact.named("other") is None


def test_containers_when_docker_does_not_answer() -> None:
    assert CONTAINERS.parse("error Cannot connect to the Docker daemon").error
    assert CONTAINERS.parse("error").error


def test_image() -> None:
    fact = IMAGE.parse("sha256:1d5e nvcr.io/nvidia/vllm@sha256:aa nvcr.io/x@sha256:bb\n")
    assert fact.id == "sha256:1d5e"
    assert fact.digests == ("nvcr.io/nvidia/vllm@sha256:aa", "nvcr.io/x@sha256:bb")
    assert IMAGE.parse("sha256:1d5e \n").digests == ()
    assert IMAGE.parse("Error: No such image").id == ""


# gpu


def test_gpu_of_nvidia_smi() -> None:
    fact = GPU.parse(
        "gpu,NVIDIA GB10, 580.95.05\napp,4901, /usr/bin/python3\napp,5120, [Not Found]\n"
    )
    assert (fact.names, fact.driver, fact.error) == (("NVIDIA GB10",), "580.95.05", "")
    assert fact.processes == (GpuProcess(4901, "/usr/bin/python3"), GpuProcess(5120, "[Not Found]"))


@pytest.mark.parametrize(
    "text",
    [
        "gpu,NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        "sh: 3: nvidia-smi: not found\n",
        "gpu,No devices were found\n",
    ],
)
def test_no_gpu_says_why(text: str) -> None:
    fact = GPU.parse(text)
    assert fact.names == ()
    assert fact.error in text
    assert fact.error


# storage


def test_model_files() -> None:
    text = "path /m\nrevision abc\nweight 10\nweight 5\nweight x\nmissing b.safetensors\n"
    fact = MODEL.parse(text + "partial 12ab.incomplete\n")
    assert (fact.revision, fact.weights, fact.weight_bytes) == ("abc", 2, 15)
    assert fact.missing == ("b.safetensors",)
    assert fact.partial == ("12ab.incomplete",)
    assert MODEL.parse("path /m\nrevision \n").revision == ""


def test_the_model_script_reads_a_real_cache(tmp_path: Path) -> None:
    folder = tmp_path / ".cache/huggingface/hub/models--QuantTrio--Qwen3-VL-235B-A22B-Instruct-AWQ"
    snapshot = folder / "snapshots" / "abc123"
    for path in (folder / "refs", folder / "blobs", snapshot):
        path.mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc123")
    (folder / "blobs" / "77.incomplete").write_text("x")
    (folder / "blobs" / "w1").write_text("12345")
    (snapshot / "config.json").write_text("{}")
    (snapshot / "one.safetensors").symlink_to("../../blobs/w1")
    (snapshot / "two.safetensors").symlink_to("../../blobs/gone")
    weights = {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    script = MODEL.script(context(deployed=True))
    fact = MODEL.parse(sh(f"SPARK_HOME='{tmp_path}'\n{script}"))
    assert fact.revision == "abc123"
    assert fact.missing == ("two.safetensors",)
    assert fact.partial == ("77.incomplete",)
    assert (fact.weights, fact.weight_bytes) == (1, 5)
    assert fact.path == str(folder)
    nothing = MODEL.parse(sh(f"SPARK_HOME='{tmp_path}/none'\n{script}"))
    assert (nothing.revision, nothing.missing, nothing.weights) == ("", (), 0)


def test_disk_of_df() -> None:
    text = "       Avail Mounted on\n786087071360 /\n    12345678 /home/my disk\n"
    assert DISK.parse(text).free == {"/": 786087071360, "/home/my disk": 12345678}
    assert DISK.parse("df: no file systems processed\n").free == {}


def test_ports_of_ss() -> None:
    found = PORTS.parse(recorded("ss.txt")).listening
    assert set(found) == {22, 53, 6379, 8000, 8265}
    assert found[8000] == 'users:(("vllm",pid=4877,fd=12))'
    assert found[6379] == 'users:(("gcs_server",pid=99,fd=3))'
    assert found[53].startswith('users:(("systemd-resolve"')
    assert found[8265] == ""


def test_files() -> None:
    assert FILES.parse("/a\n/b\n").present == {"/a", "/b"}


# server


def test_server_log_and_health() -> None:
    up = SERVER.parse(world.SERVER_UP)
    assert up.healthy
    assert up.progress.ready
    down = SERVER.parse(world.healthy("server", "spark-2"))
    assert not down.healthy
    assert not down.progress.ready


def test_a_server_log_without_a_last_newline() -> None:
    text = "Application startup complete.@@health\n\nspark-cluster: HTTP 200 0.002 s \n"
    assert SERVER.parse(text).healthy


# Rubbish


TEXT = st.text(max_size=120) | st.text(alphabet="c p{}[]\"':,/0129²٣\t\n@=.-gpapsUP", max_size=120)


@pytest.mark.parametrize("fact", FACTS.values(), ids=lambda fact: fact.name)
def test_a_parser_never_raises(fact: Fact[object]) -> None:
    @settings(max_examples=60, deadline=None, database=None)
    @given(TEXT)
    @example("")
    @example("\n")
    @example("\0")
    @example("c n running ² t {}")
    @example("c n running 0 t " + "[" * 5000)
    @example("c n running 0 t {}\np ² x\np " + "9" * 5000)
    @example("app,²,x\ngpu,a,b\napp," + "9" * 5000 + ",x")
    @example("LISTEN 0 0 a:² b\nLISTEN 0 0 a:" + "9" * 5000 + " b")
    @example("Avail\n² /\n" + "9" * 5000 + " /")
    @example("Filename\na b ²\na b " + "9" * 5000)
    @example("MemTotal: ² kB\nMemFree: " + "9" * 5000)
    @example("weight ²\nweight " + "9" * 5000)
    @example("a b ² yes\na b " + "9" * 5000 + " yes")
    def parse(text: str) -> None:
        fact.parse(text)

    parse()


@pytest.mark.parametrize("fact", FACTS.values(), ids=lambda fact: fact.name)
def test_a_parser_survives_a_cut_or_shouting_host(fact: Fact[object]) -> None:
    """Every prefix of a healthy answer, and the answer with complaints between its lines."""
    whole = world.healthy(fact.name, "spark-2")
    for end in range(0, len(whole), max(1, len(whole) // 40)):
        fact.parse(whole[:end])
    fact.parse(whole.replace("\n", "\nsh: 1: something: not found\n"))


# The probe


def sh(script: str, shell: str = "/bin/sh") -> str:
    """What a real shell prints for `script`; it must end well."""
    done = subprocess.run(
        [shell, "-s"],
        input=script,
        text=True,
        capture_output=True,
        timeout=20,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("host", "deployed"),
    [("spark-1", False), ("spark-2", False), ("spark-2", True), ("spark-3", True)],
)
def test_the_probe_of_all_facts_is_sound_sh(host: str, deployed: bool) -> None:
    script = probe.script(list(FACTS.values()), context(host, deployed=deployed))
    done = subprocess.run(["/bin/sh", "-n"], input=script, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_probe_runs_here_and_parses() -> None:
    """In dash, for the facts that every Linux can give."""
    here = (HOST, MEMORY, SWAP, DISK, PORTS, LINKS, ACCESS, GIDS)
    output = sh(probe.script(here, context()))
    assert probe.complete(output)
    assert set(probe.sections(output)) == {*(fact.name for fact in here), "."}
    found = probe.parse(output, here)
    assert found[HOST].hostname == os.uname().nodename
    assert found[HOST].kernel == os.uname().release
    assert found[HOST].arch == os.uname().machine
    assert found[HOST].boot_id
    assert found[HOST].os
    assert found[HOST].home
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found[MEMORY].total == pytest.approx(total, rel=0.05)
    assert 0 < found[MEMORY].available <= found[MEMORY].total
    assert all(size > 0 for size in found[SWAP].active.values())
    assert not found[GIDS]["rocep1s0f1"].present or found[GIDS]["rocep1s0f1"].netdev
    assert found.names == {fact.name for fact in here}


def test_the_probe_finds_the_links_and_the_ports_of_this_machine() -> None:
    for program in ("ip", "ss"):
        if not any((Path(f) / program).exists() for f in os.environ["PATH"].split(":")):
            pytest.skip(f"no {program} on this machine (apt install iproute2)")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = probe.parse(sh(probe.script((LINKS, PORTS), context())), (LINKS, PORTS))
    assert found[LINKS].links["lo"].ipv4[:1] == ("127.0.0.1/8",)
    assert found[LINKS].links["lo"].carrier
    assert port in found[PORTS].listening


def test_the_management_interface_is_the_one_ssh_came_in_on(tmp_path: Path) -> None:
    """Not one whose address merely begins alike."""
    fake = tmp_path / "ip"
    fake.write_text(
        "#!/bin/sh\n"
        "echo '2: enP7s7    inet 192.168.102.110/24 brd 192.168.102.255 scope global enP7s7'\n"
        "echo '3: wlP9s9    inet 192.168.102.11/24 brd 192.168.102.255 scope global wlP9s9'\n"
    )
    fake.chmod(0o755)
    script = (
        f"PATH={tmp_path}:$PATH\nSSH_CONNECTION='192.168.102.1 50000 192.168.102.11 22'\n"
        + probe.script([HOST], context())
    )
    assert probe.parse(sh(script), [HOST])[HOST].management == "wlP9s9"


def test_programs_that_are_not_there_are_missing(tmp_path: Path) -> None:
    script = HOST.script(context()).replace("netplan ping", "netplan no-such-program ping")
    assert "no-such-program" in HOST.parse(sh(script)).missing
    assert "timeout" not in HOST.parse(sh(script)).missing


# Sections


def said(name: str, text: str) -> Fact[str]:
    """A fact whose shell prints `text` as it is."""
    return Fact(name, lambda _: f"printf '%s' '{text}'", lambda found: found)


ROUND = [
    "plain",
    "two\nlines\n",
    "",
    "\n",
    "no newline",
    "form\x0cfeed\u2028line\x85",
    "  blanks  ",
]


@pytest.mark.parametrize("text", ROUND)
def test_a_facts_output_comes_back_alone(text: str) -> None:
    first, second = said("first", text), said("second", "next")
    output = sh(probe.script([first, second], context()))
    found = probe.parse(output, [first, second])
    assert found[first].rstrip("\n") == text.rstrip("\n")
    assert found[second] == "next"
    assert probe.complete(output)


def test_what_a_fact_complains_of_is_part_of_it() -> None:
    fact: Fact[str] = Fact("sad", lambda _: "echo out; echo err >&2; false", lambda text: text)
    assert probe.parse(sh(probe.script([fact], context())), [fact])[fact] == "out\nerr"


def test_a_probe_that_broke_off_is_not_complete() -> None:
    output = sh(probe.script([said("a", "1"), said("b", "2")], context()))
    assert probe.complete(output)
    head, _, _ = output.rpartition("@@spark-cluster-fact")
    assert not probe.complete(head)
    assert not probe.complete("")
    assert probe.sections(head)["b"].strip() == "2"


def test_what_stands_before_the_first_mark_belongs_to_no_fact() -> None:
    found = probe.sections("Welcome!\n\n@@spark-cluster-fact a\n1\n\n@@spark-cluster-fact .\n")
    assert found == {"a": "1", ".": ""}


def test_a_fact_without_a_section_is_parsed_from_nothing() -> None:
    found = probe.parse("", [MEMORY, SWAP])
    assert found[MEMORY].total == 0
    assert found[SWAP].active == {}


def test_newer_readings_win_and_others_stay() -> None:
    older = world.facts("spark-2")
    newer = probe.parse(f"{world.MARK}memory\nMemTotal: 1 kB\n", [MEMORY])
    both = older.updated(newer)
    assert both[MEMORY].total == KIB
    assert both[SWAP] == older[SWAP]
    assert MEMORY in both
    assert MEMORY not in Facts()


def test_every_probe_starts_by_telling_user_and_home() -> None:
    out: Callable[[str], str] = sh
    assert out(probe.PRELUDE + 'echo "$SPARK_USER:$SPARK_HOME"').strip(":\n")
    assert out("SUDO_USER=root\n" + probe.PRELUDE + 'echo "$SPARK_HOME"') == "/root\n"

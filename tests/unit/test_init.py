"""`init` over fake nodes: what it asks, shows and writes, and that it changes nothing there."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from spark_cluster.core.error import HostKeyRejected, Unreachable
from spark_cluster.inventory import sight
from spark_cluster.inventory.loader import load
from spark_cluster.runner import discover
from tests.command_line import Cli
from tests.fake_transport import FakeHost

from .cases import write
from .test_discovery import World, mixed
from .world import MARK


def nodes(world: World, *, suffix: str = "") -> list[FakeHost]:
    return [
        FakeHost(host + suffix).on(
            MARK, f"\n@@{MARK}sight\n{world.told(host, 'frames')}\n@@{MARK}.\n"
        )
        for host in world.hosts
    ]


@pytest.fixture
def init(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run `spark-cluster init …` on a machine without networks; `hosts` answer."""
    monkeypatch.setattr(discover, "own_networks", list)
    monkeypatch.setattr(discover, "own_neighbours", list)
    monkeypatch.setattr("shutil.which", lambda _: None)
    return functools.partial(cli, "init")


NAMES = ("spark-1", "spark-2", "spark-3")
FILE = Path("inventory/sparks.yaml")


def test_it_shows_the_inventory_and_writes_it_only_when_told(init: Cli) -> None:
    code, out, err = init(*NAMES, hosts=nodes(mixed()))
    assert code == 0
    assert "Topology: pair by one cable; 10GbE between spark-1, spark-2." in out
    assert "not written; `--yes` writes it to" in err
    assert not FILE.exists()
    code, again, err = init(*NAMES, "--yes", hosts=nodes(mixed()))
    assert code == 0
    assert FILE.read_text(encoding="utf-8") == again == out
    inventory = load(FILE.absolute())
    assert [len(host.rails) for host in inventory.hosts.values()] == [0, 2, 2]
    assert inventory.reachable_address("spark-2") == "spark-2"
    assert "nothing was changed on the nodes" in err


def test_one_connection_and_one_exec_per_node(init: Cli) -> None:
    hosts = nodes(mixed())
    init(*NAMES, hosts=hosts)
    assert [(host.connections, host.execs) for host in hosts] == [(1, 1)] * 3


def test_a_file_that_is_there_is_replaced_only_with_force(init: Cli) -> None:
    write(FILE, "mine: true\n")
    code, _, err = init(*NAMES, "--yes", hosts=nodes(mixed()))
    assert code == 2
    assert "exists already and is left as it is" in err
    assert "--force" in err
    assert FILE.read_text(encoding="utf-8") == "mine: true\n"
    assert init(*NAMES, "--yes", "--force", hosts=nodes(mixed()))[0] == 0
    assert "version: 1" in FILE.read_text(encoding="utf-8")
    assert [path.name for path in FILE.parent.iterdir()] == [FILE.name]


def test_another_file(init: Cli, tmp_path: Path) -> None:
    path = tmp_path / "new" / "mine.yaml"
    assert init(*NAMES, "--yes", "--output", str(path), hosts=nodes(mixed()))[0] == 0
    assert load(path).groups == {"pair": ("spark-2", "spark-3")}


def test_an_address_is_given_the_name_that_the_node_has(init: Cli) -> None:
    hosts = nodes(mixed())
    for number, host in enumerate(hosts):
        host.name = f"10.0.0.{number}"
    code, _, _ = init("10.0.0.0", "me@10.0.0.1", "10.0.0.2", "--yes", hosts=rename(hosts))
    assert code == 0
    inventory = load(FILE.absolute())
    assert list(inventory.hosts) == list(NAMES)
    assert inventory.reachable_address("spark-1") == "10.0.0.0"
    assert inventory.hosts["spark-2"].address == "10.0.0.1"
    assert inventory.hosts["spark-2"].user == "me"


def rename(hosts: Sequence[FakeHost]) -> list[FakeHost]:
    hosts[1].name = "me@10.0.0.1"
    return list(hosts)


def test_names_from_ssh_config_are_asked_when_none_is_given(init: Cli, tmp_path: Path) -> None:
    write(tmp_path / "home/.ssh/config", "Host spark-1 spark-2 desk\nHost spark-* !spark-9\n")
    world = World("spark-1", "spark-2").cable(
        "spark-1", sight.HALVES[:2], "spark-2", sight.HALVES[:2]
    )
    code, out, err = init(hosts=nodes(world))
    assert code == 0
    assert "found  spark-1: named in ssh_config" in err
    assert "desk" not in err
    assert "pair by one cable" in out


def test_a_found_node_that_is_away_is_left_out_a_named_one_ends_it(
    init: Cli, tmp_path: Path
) -> None:
    write(tmp_path / "home/.ssh/config", "Host spark-1 spark-2 spark-3\n")
    hosts = nodes(mixed())
    hosts[0].down = Unreachable("spark-1: no route", host="spark-1", remedy="Is it on?")
    code, out, err = init(hosts=hosts)
    assert code == 0
    assert "left out  spark-1: spark-1: no route" in err
    assert "spark-1:" not in out
    code, out, err = init(*NAMES, hosts=hosts)
    assert (code, out) == (3, "")
    assert "Is it on?" in err


def test_an_unknown_host_key_says_what_to_do_without_an_inventory(init: Cli) -> None:
    hosts = nodes(mixed())
    hosts[0].down = HostKeyRejected("the key is unknown", host="spark-1", remedy="trust")
    code, _, err = init(*NAMES, hosts=hosts)
    assert code == 3
    assert "`ssh spark-1` once and compare the fingerprint" in err


def test_nobody_there(init: Cli) -> None:
    code, _, err = init()
    assert code == 2
    assert "no Spark was found" in err
    assert "spark-cluster init spark-1 spark-2" in err


def test_hints_are_told() -> None:
    assert "10.0.0.9" in discover.nobody(["10.0.0.9"]).remedy


def test_mdns() -> None:
    text = (
        "+;eth0;IPv4;spark-1;_ssh._tcp;local\n"
        "=;eth0;IPv4;spark-1;_ssh._tcp;local;spark-1.local;10.0.0.5;22;\n"
        "=;eth0;IPv6;spark-1;_ssh._tcp;local;spark-1.local;fe80::1;22;\n"
        "=;eth0;IPv4;printer;_ssh._tcp;local;printer.local;10.0.0.6;22;\n"
    )
    (found,) = discover.from_avahi(text)
    assert found.name == "spark-1.local"
    assert "eth0" in found.why


# The script


def test_the_script_is_sound_shell_and_its_python_compiles() -> None:
    for shell in filter(shutil.which, ("sh", "dash", "bash")):
        subprocess.run([shell, "-n"], input=discover.script().encode(), check=True, timeout=20)
    compile(discover._FRAMES, "frames", "exec")


#: Words that begin a command which changes something, and redirections to anything but null.
MUTATING = re.compile(
    r"\b(ip (-\S+ )*(link|addr|address|route|neigh|rule) (set|add|del|delete|change|replace|flush)"
    r"|nmcli|netplan|sysctl|systemctl|modprobe|rdma|ethtool|brctl|ifconfig|iptables|nft|tee|rm|mv"
    r"|cp|mkdir|touch|chmod|chown|ln|dd|truncate|apt|apt-get|docker|reboot|kill|sed -i)\b"
    r"|>+\s*(?!/dev/null|&\d)[^\s=&]"
)


def test_the_script_changes_nothing() -> None:
    shell = discover.script().replace(discover._FRAMES, "")
    quoted = re.sub(r'"s/[^"]*"', "", shell)
    assert MUTATING.search(quoted) is None, MUTATING.search(quoted)
    opened = re.findall(r"\bopen\(|\bos\.|\bsubprocess|ioctl|setsockopt|write\(", discover._FRAMES)
    assert opened == []


@pytest.mark.parametrize(
    "line", ["ip link set x up", "ip -6 addr add 1 dev x", "echo 1 > /proc/x", "sysctl -w a=1",
             "cat x >> /etc/y", "rm -f x", "nmcli con up x"],
)  # fmt: skip
def test_the_check_above_would_notice(line: str) -> None:
    assert MUTATING.search(line)


def test_every_wait_in_the_script_is_bounded() -> None:
    lines = discover.script().splitlines()
    for line in lines:
        if re.search(r"\b(tcpdump|arping|python3) -", line) and "command -v" not in line:
            assert "timeout -k" in line
    assert "ping -6 -n -c 3 -i 0.5 -w 4" in discover.script()


def test_the_script_runs_here_and_is_read() -> None:
    done = subprocess.run(
        ["sh", "-s"], input=discover.script(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert sight.parse(done.stdout).hostname

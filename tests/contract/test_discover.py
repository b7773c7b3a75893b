"""The script of `init` in network namespaces with real cables: frames and IPv6 on the wire."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from spark_cluster.inventory import sight
from spark_cluster.inventory.discovery import segments
from spark_cluster.inventory.proposal import propose
from spark_cluster.inventory.sight import ETHERNET, HALVES, Sight
from spark_cluster.runner import discover

pytestmark = pytest.mark.contract

P0, P1 = HALVES[:2], HALVES[2:]


def run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=30, capture_output=True)


class Rack:
    """Namespaces as nodes, veth pairs as cables."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._number = 0
        self.nodes: dict[str, str] = {}

    def node(self, name: str) -> str:
        space = f"sc{os.getpid()}{name}"
        run("ip", "netns", "add", space)
        self._stack.callback(lambda: run("ip", "netns", "del", space))
        run("ip", "-n", space, "link", "set", "lo", "up")
        self.nodes[name] = space
        return space

    def wire(self, one: str, interface: str, other: str, peer: str) -> None:
        self._number += 1
        left, right = self.nodes[one], self.nodes[other]
        ends = [f"sct{os.getpid() % 10000}{side}{self._number}" for side in "lr"]
        run("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for end, space, name in ((ends[0], left, interface), (ends[1], right, peer)):
            run("ip", "link", "set", end, "netns", space)
            run("ip", "-n", space, "link", "set", end, "name", name)
            run("ip", "-n", space, "link", "set", name, "up")

    def cable(self, one: str, port: Sequence[str], other: str, peer: Sequence[str]) -> None:
        for half in (0, 1):
            self.wire(one, port[half], other, peer[half])

    def state(self) -> dict[str, str]:
        """What is configured on each node."""
        return {
            name: subprocess.run(
                ["ip", "-n", space, "-j", "addr", "show"],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for name, space in self.nodes.items()
        }

    def sights(self, path: str | None = None) -> dict[str, Sight]:
        environment = {**os.environ, **({"PATH": path} if path else {})}
        asked = {
            name: subprocess.Popen(
                ["ip", "netns", "exec", space, "sh", "-s"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )
            for name, space in self.nodes.items()
        }  # fmt: skip
        for process in asked.values():
            assert process.stdin
            process.stdin.write(discover.script())
            process.stdin.close()
        told = {}
        for name, process in asked.items():
            assert process.stdout
            told[name] = process.stdout.read()
            process.wait(60)
        # Namespaces share the machine's name.
        own = {name: text.replace(f"hostname {os.uname().nodename}", f"hostname {name}")
               for name, text in told.items()}  # fmt: skip
        return {name: sight.parse(text) for name, text in own.items()}


@pytest.fixture
def rack() -> Iterator[Rack]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    with ExitStack() as stack:
        yield Rack(stack)


def test_a_ring_is_found_and_nothing_is_changed(rack: Rack) -> None:
    names = ("spark-1", "spark-2", "spark-3")
    for name in names:
        rack.node(name)
    for place, name in enumerate(names):
        rack.cable(name, P0, names[(place + 1) % 3], P1)
    before = rack.state()
    proposal = propose(rack.sights())
    assert proposal.topology == "ring of three"
    assert len({entry.address.rpartition(".")[0] for entry in proposal.entries}) == 6
    assert without_lifetimes(rack.state()) == without_lifetimes(before)


def without_lifetimes(states: dict[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, text in states.items():
        entries = json.loads(text)
        for entry in entries:
            # A cable that was just laid may come up meanwhile.
            entry.pop("operstate", None)
            entry["flags"] = [flag for flag in entry["flags"] if flag != "NO-CARRIER"]
            for info in entry.get("addr_info", []):
                for key in ("valid_life_time", "preferred_life_time", "tentative"):
                    info.pop(key, None)
        found[name] = entries
    return found


def test_with_ipv6_off_frames_alone_find_the_cable(rack: Rack) -> None:
    for name in ("spark-2", "spark-3"):
        space = rack.node(name)
        for scope in ("all", "default"):
            key = f"net.ipv6.conf.{scope}.disable_ipv6=1"
            run("ip", "netns", "exec", space, "sysctl", "-qw", key)
    rack.cable("spark-2", P1, "spark-3", P1)
    sights = rack.sights()
    assert sights["spark-2"].ports[P1[0]].ipv6_off
    found = segments(sights)
    assert [segment.proofs for segment in found] == [("frames",), ("frames",)]


def test_without_python_ipv6_alone_finds_the_cable(rack: Rack, tmp_path: Path) -> None:
    for program in ("sh", "ip", "cat", "sed", "sort", "grep", "cut", "uname", "ping", "timeout",
                    "tr", "ls", "head"):  # fmt: skip
        where = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if where is None:
            pytest.skip(f"no {program} on this machine")
        (tmp_path / program).symlink_to(where)
    for name in ("spark-2", "spark-3"):
        rack.node(name)
    rack.wire("spark-2", ETHERNET, "spark-3", ETHERNET)
    (segment,) = segments(rack.sights(str(tmp_path)))
    assert segment.ends == (("spark-2", ETHERNET), ("spark-3", ETHERNET))
    assert segment.proofs == ("IPv6 neighbours",)

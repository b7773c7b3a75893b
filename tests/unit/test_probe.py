"""The probe: one script of all facts in a real shell, and its sections."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from spark_cluster.facts import probe
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.facts.host import HOST
from spark_cluster.facts.links import LINKS
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.facts.rdma import ACCESS, GIDS
from spark_cluster.facts.storage import DISK, PORTS
from spark_cluster.facts.table import FACTS

from . import world
from .shell import sh
from .world import context

KIB = 1024


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
    newer = probe.parse(f"@@{world.MARK}memory\nMemTotal: 1 kB\n", [MEMORY])
    both = older.updated(newer)
    assert both[MEMORY].total == KIB
    assert both[SWAP] == older[SWAP]
    assert MEMORY in both
    assert MEMORY not in Facts()


def test_every_probe_starts_by_telling_user_and_home() -> None:
    out: Callable[[str], str] = sh
    assert out(probe.PRELUDE + 'echo "$SPARK_USER:$SPARK_HOME"').strip(":\n")
    assert out("SUDO_USER=root\n" + probe.PRELUDE + 'echo "$SPARK_HOME"') == "/root\n"

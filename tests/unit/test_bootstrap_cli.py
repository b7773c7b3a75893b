"""`bootstrap` and `plan` over fake hosts: exit codes, what is told, what stays untouched."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from spark_cluster.core.error import HostKeyRejected
from spark_cluster.transport.protocol import Completed
from tests.command_line import Cli

from .world import INVENTORY, Spark, bare, down, journal, sparks, swapped


def test_a_warm_bootstrap(cli: Cli, tmp_path: Path) -> None:
    hosts = sparks()
    said = cli("bootstrap", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert said.err == ""
    assert [host.connections for host in hosts] == [1, 1, 1]
    assert [host.execs for host in hosts] == [1, 1, 1]
    assert "changed" not in said.out.replace("0 changed", "")
    assert re.search(r"bootstrap: \d+ ok", said.out)
    (file,) = journal(tmp_path)
    kinds = [json.loads(line)["kind"] for line in file.read_text().splitlines()]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_finished"


def test_a_bootstrap_tells_what_it_changed(cli: Cli) -> None:
    hosts = [Spark("spark-1"), swapped("spark-2"), Spark("spark-3")]
    said = cli("bootstrap", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "swap /swap.img: on, 8 GiB -> off" in said.out
    assert [host.connections for host in hosts] == [1, 1, 1]


def test_only_the_named_hosts_are_touched(cli: Cli) -> None:
    hosts = sparks()
    assert cli("bootstrap", "-i", INVENTORY, "--hosts", "spark-1", hosts=hosts).code == 0
    assert [host.connections for host in hosts] == [1, 0, 0]


@pytest.mark.parametrize(
    "arguments",
    [["plan", "bootstrap"], ["bootstrap", "--dry-run"], ["plan", "bootstrap", "--json"]],
)
def test_a_plan_changes_nothing_and_says_what_would(cli: Cli, arguments: list[str]) -> None:
    hosts = [Spark("spark-1"), swapped("spark-2"), bare("spark-3")]
    before = [dict(host.texts) for host in hosts]
    said = cli(*arguments, "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "swap /swap.img" in said.out
    assert "/etc/netplan/40-cx7.yaml" in said.out
    assert [host.execs for host in hosts] == [1, 1, 1]
    assert [host.held for host in hosts] == [[], [], []]
    assert [host.texts for host in hosts] == before


def test_a_plan_shows_its_commands_when_asked(cli: Cli) -> None:
    hosts = [Spark("spark-1"), swapped("spark-2"), Spark("spark-3")]
    assert "$ swapoff /swap.img" not in cli("plan", "bootstrap", "-i", INVENTORY, hosts=hosts).out
    said = cli("plan", "bootstrap", "--commands", "-i", INVENTORY, hosts=hosts)
    assert "$ swapoff /swap.img" in said.out
    data = cli("plan", "bootstrap", "--commands", "--json", "-i", INVENTORY, hosts=hosts)
    (finished,) = [line for line in data.lines if line["kind"] == "run_finished"]
    commands = [change["commands"] for row in finished["data"]["plan"] for change in row["changes"]]
    assert commands == ["swapoff /swap.img\n"]


def test_a_plan_writes_no_journal(cli: Cli, tmp_path: Path) -> None:
    cli("plan", "bootstrap", "-i", INVENTORY, hosts=sparks())
    assert journal(tmp_path) == []


def test_a_host_that_is_down_ends_it_before_anything_changed(cli: Cli) -> None:
    hosts = [swapped("spark-1"), down("spark-2"), Spark("spark-3")]
    said = cli("bootstrap", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    assert "spark-2: no route to host" in said.err
    assert "next: Is it on?" in said.err
    assert [host.execs for host in hosts] == [0, 0, 0]


def test_two_hosts_down_are_one_error(cli: Cli) -> None:
    hosts = [Spark("spark-1"), down("spark-2"), down("spark-3")]
    said = cli("bootstrap", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    assert "2 hosts are away: spark-2, spark-3; nothing was changed" in said.err


def test_an_unknown_host_key_names_the_command_that_mends_it(cli: Cli) -> None:
    host = Spark("spark-2")
    host.down = HostKeyRejected(
        "the key is unknown", host="spark-2", remedy="`spark-cluster trust spark-2`"
    )
    hosts = [Spark("spark-1"), host, Spark("spark-3")]
    said = cli("bootstrap", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    assert "spark-cluster trust spark-2" in said.err


def test_a_host_in_use_ends_with_5_and_names_the_holder(cli: Cli, tmp_path: Path) -> None:
    host = swapped("spark-2")
    host.on("exec 9>>", Completed(75, "held launch by eve@desk (pid 7) since noon\n", ""))
    said = cli("bootstrap", "-i", INVENTORY, hosts=[Spark("spark-1"), host, Spark("spark-3")])
    assert said.code == 5
    assert "spark-2 is in use: launch by eve@desk (pid 7) since noon" in said.err
    assert host.changes == []
    (file,) = journal(tmp_path)
    assert "eve@desk" in file.read_text()


def test_a_failed_check_ends_with_4_and_says_more(cli: Cli) -> None:
    host = Spark("spark-2", {"gpu": "sh: nvidia-smi: not found\n"})
    hosts = [Spark("spark-1"), host, Spark("spark-3")]
    said = cli("bootstrap", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    assert "GPU001" in said.out
    assert "next: " in said.out
    assert [each.held for each in hosts] == [[], [], []]


def test_json_is_an_object_a_line_from_begin_to_end(cli: Cli) -> None:
    hosts = [Spark("spark-1"), swapped("spark-2"), Spark("spark-3")]
    said = cli("bootstrap", "--json", "-i", INVENTORY, hosts=hosts)
    assert (said.code, said.err) == (0, "")
    kinds = [line["kind"] for line in said.lines]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_finished"
    assert kinds.count("host_connected") == 3
    changed = [line for line in said.lines if line.get("status") == "changed"]
    assert [(line["host"], line["step"]) for line in changed] == [("spark-2", "swap")]
    assert said.lines[-1]["counts"]["changed"] == 1
    assert said.lines[-1]["exit_code"] == 0

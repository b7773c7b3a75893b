"""What the lab's verbs find and show, without a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_cluster.cli.views import lab as view
from spark_cluster.core.error import InputError, LabError
from spark_cluster.lab import manage, reports
from spark_cluster.lab.fault import FAULTS
from tests.command_line import Cli

from .test_lab_manage import ALL, note, where  # noqa: F401  (a fixture)


def test_a_lab_that_is_not_up(where: Path) -> None:  # noqa: F811
    assert reports.status().nodes == ()
    assert list(view.nodes(reports.status())) == [
        "The lab is not up. Start it: spark-cluster lab up"
    ]
    with pytest.raises(LabError, match="the lab is not up"):
        manage.ssh_words("spark-1", ())


def test_the_nodes_of_a_lab(where: Path) -> None:  # noqa: F811
    note(where, ALL - {"spark-2"})
    report = reports.status()
    assert {node.name: node.up for node in report.nodes} == {
        "spark-1": True, "spark-2": False, "spark-3": True,
    }  # fmt: skip
    head, first, second, *_ = view.nodes(report)
    assert head.split()[:4] == ["node", "state", "ssh", "api"]
    assert first.split()[:4] == ["spark-1", "up", "127.0.0.1:1", "127.0.0.1:2"]
    assert second.split()[:2] == ["spark-2", "dead"]


def test_a_shell_on_a_node(where: Path) -> None:  # noqa: F811
    note(where, ALL)
    program, *words = manage.ssh_words("spark-2", ("ip", "-br", "link"))
    assert program.endswith("ssh")
    assert words == ["-F", str(where / "ssh_config"), "spark-2", "ip", "-br", "link"]
    with pytest.raises(InputError):
        manage.ssh_words("spark-9", ())


def test_a_way_to_run_nodes_that_there_is_not(cli: Cli) -> None:
    with pytest.raises(InputError, match="named xen"):
        manage.Options(accel="xen")
    said = cli("lab", "up", "--accel", "xen")
    assert (said.code, said.out) == (2, "")
    assert "error: there is no way to run nodes named xen" in said.err


def test_the_faults_are_listed_with_what_undoes_them(cli: Cli) -> None:
    assert [fault.name for fault in reports.faults().faults] == [fault.name for fault in FAULTS]
    said = cli("lab", "fault", "list")
    assert said.code == 0
    lines = said.out.splitlines()
    assert len(lines) == len(FAULTS)
    assert all("; --undo " in line for line in lines)

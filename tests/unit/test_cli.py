"""The command line: usage, and the form of errors in what the user wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_cluster import __version__
from spark_cluster.cli import app
from spark_cluster.core.error import CheckFailed
from spark_cluster.core.secret import Secret
from tests.command_line import Cli, assert_told

from . import world
from .cases import write
from .world import INVENTORY, sparks

# Usage


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bootstrapp"], "No such command"),
        (["bootstrap", "--no-such"], "No such option"),
        (["launch"], "Missing argument"),
        (["verify-rdma", "--tokens", "0"], "'--tokens'"),
        (["verify-rdma", "--tokens", "many"], "'--tokens'"),
    ],
)
def test_a_wrong_command_line_ends_with_2(cli: Cli, arguments: list[str], says: str) -> None:
    said = cli(*arguments)
    assert said.code == 2
    assert says in said.err
    assert said.out == ""
    assert "Traceback" not in said.err


def test_no_arguments_show_the_help(cli: Cli) -> None:
    said = cli()
    assert "bootstrap" in said.out + said.err


def test_the_version(cli: Cli) -> None:
    said = cli("--version")
    assert (said.code, said.out) == (0, f"spark-cluster {__version__}\n")


VERBS = ("bootstrap", "plan", "launch", "verify-rdma", "status", "teardown", "trust", "explain")


@pytest.mark.parametrize("verb", [*VERBS, "recipes", "lab"])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_verb_has_help(cli: Cli, verb: str, flag: str) -> None:
    said = cli(verb, flag)
    assert said.code == 0
    assert verb in said.out
    assert len(said.out.splitlines()) > 5


def test_a_wrong_inventory_is_told_with_its_line(cli: Cli) -> None:
    path = world.DATA / "inventory" / "duplicate-address.yaml"
    said = cli("bootstrap", "--inventory", str(path))
    assert_told(
        said,
        f"error: {path}:11: hosts.spark-3.rails[0].address: 192.168.100.10 is also",
        "  next: Every interface of every host needs its own address.",
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["bootstrap", "--hosts", "spark-9"], ["'spark-9'", "Did you mean `spark-"]),
        (["status", "--hosts", "spark-2,spark-9"], ["'spark-9'"]),
        (["trust", "spark-9"], ["'spark-9'"]),
        (["launch", "qwen"], ["there is no recipe 'qwen'", "qwen3-vl-235b"]),
        (["launch", "qwen3-vl-235b", "--group", "pear"], ["no group 'pear'", "`pair`"]),
        (["plan", "bootstrab"], ["there is no playbook 'bootstrab'", "`bootstrap`"]),
        (["plan", "launch"], ["which recipe?", "spark-cluster recipes"]),
        (["bootstrap", "--set", "swap"], ["--set swap: not of the form STEP.PARAMETER=VALUE"]),
        (["bootstrap", "--set", "swop.state=off"], ["no step 'swop'", "`swap`"]),
        (["bootstrap", "--set", "swap.state=gone"], ["--set swap.state", "'off', 'on', 'keep' or"]),
        (["recipes", "show", "qwen"], ["there is no recipe 'qwen'"]),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    cli: Cli, arguments: list[str], parts: list[str]
) -> None:
    hosts = sparks()
    said = cli(*arguments, "--inventory", INVENTORY, hosts=hosts)
    assert_told(said, *parts)
    assert [host.connections for host in hosts] == [0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "idle"),
    [
        (["bootstrap", "qwen3-vl-235b"], "RECIPE"),
        (["bootstrap", "--group", "pair", "--profile", "p", "--with", "w"],
         "--group, --profile, --with"),
        (["launch", "qwen3-vl-235b", "--hosts", "spark-2"], "--hosts"),
        (["launch", "qwen3-vl-235b", "--allow-management-interface"],
         "--allow-management-interface"),
        (["teardown", "--pp"], "--pp"),
        (["bootstrap", "--group", ""], "--group"),
    ],
)  # fmt: skip
def test_a_plan_refuses_what_it_would_not_heed(cli: Cli, arguments: list[str], idle: str) -> None:
    hosts = sparks()
    said = cli("plan", *arguments, "-i", INVENTORY, hosts=hosts)
    assert_told(said, f"plan {arguments[0]} takes no {idle}\n", "next: Leave ")
    assert [host.connections for host in hosts] == [0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["teardown", "--hosts", ""], ["--hosts is empty", "Leave it out for all hosts."]),
        (["teardown", "--hosts", ","], ["--hosts is empty"]),
        (["teardown", "--group", ""], ["there is no group ''"]),
        (["teardown", ""], ["RECIPE is empty"]),
        (["plan", "teardown", ""], ["RECIPE is empty"]),
        (["relaunch", ""], ["RECIPE is empty"]),
        (["bootstrap", "--hosts", ""], ["--hosts is empty"]),
        (["status", "--hosts", "", "--hosts", ","], ["--hosts is empty"]),
        (["undo", "network", "--hosts", ""], ["--hosts is empty"]),
        (["undo", "network", "--to", ""], ["--to is empty"]),
        (["monitor", "up", "--without", ""], ["--without is empty"]),
        (["model", "sync", "qwen3-vl-235b", "--to", ""], ["--to is empty", "the only group"]),
        (["image", "sync", "qwen3-vl-235b", "--to", ""], ["--to is empty"]),
        (["failover", "qwen3-vl-235b", "--without", ""], ["--without is empty"]),
    ],
)
def test_an_empty_value_is_not_everything(cli: Cli, arguments: list[str], parts: list[str]) -> None:
    """As a shell gives it for a variable that is not set."""
    hosts = sparks()
    said = cli(*arguments, "--inventory", INVENTORY, hosts=hosts)
    assert_told(said, *parts)
    assert [host.connections for host in hosts] == [0, 0, 0]


def test_an_empty_inventory_is_not_the_current_one(cli: Cli) -> None:
    assert_told(cli("teardown", "-i", "", hosts=sparks()), "--inventory is empty")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["status", "--interval", "5s"], "--interval goes with --watch only"),
        (["verify-rdma", "--no-both"], "--no-both goes with --probe only"),
        (["verify-rdma", "--both", "--live"], "--both goes with --probe only"),
    ],
)
def test_an_option_without_the_one_it_belongs_to(
    cli: Cli, arguments: list[str], parts: str
) -> None:
    assert_told(cli(*arguments, "-i", INVENTORY, hosts=sparks()), parts)


def test_an_inventory_that_is_not_there(cli: Cli) -> None:
    assert_told(cli("status", "-i", "/no/such.yaml"), "there is no inventory at /no/such.yaml")


def test_a_wrong_playbook_beside_the_user_is_told_with_its_line(cli: Cli) -> None:
    path = write(
        Path("playbooks/bootstrap.yaml"), "name: b\ntitle: B\nsteps:\n  - step: netplann\n"
    )
    said = cli("bootstrap", "-i", INVENTORY, hosts=sparks())
    assert_told(said, f"{path.absolute()}:4: steps[0].step: there is no step 'netplann'", "netplan")


def test_a_wrong_template_is_told_with_its_line(cli: Cli) -> None:
    write(Path("netplan/40-cx7.yaml.j2"), "network:\n  x: {{ nothing.here }}\n")
    said = cli("plan", "bootstrap", "-i", INVENTORY, hosts=sparks())
    assert said.code == 2
    assert "40-cx7.yaml.j2" in said.err
    assert "'nothing' is undefined" in said.err


def test_errors_as_json_are_json_on_standard_output(cli: Cli) -> None:
    said = cli("bootstrap", "--hosts", "spark-9", "--json", "-i", INVENTORY)
    assert said.code == 2
    assert said.err == ""
    (line,) = said.lines
    assert line["kind"] == "error"
    assert line["error"]["kind"] == "InputError"
    assert line["error"]["exit_code"] == 2
    assert line["error"]["remedy"]


def test_the_form_of_an_error() -> None:
    error = CheckFailed(
        "it does not",
        host="spark-2",
        step="jumbo-ping",
        place="a.yaml:3",
        command="ping x",
        stderr="one\ntwo",
        code="NET004",
        remedy="Mend it.",
    )
    assert app.error_lines(error) == [
        "error: a.yaml:3: spark-2 jumbo-ping: it does not",
        "  command: ping x",
        "  the host said:",
        "    | one",
        "    | two",
        "  next: Mend it.",
        "  more: spark-cluster explain NET004",
    ]
    assert error.as_dict()["exit_code"] == 4


def test_a_secret_never_prints() -> None:
    assert f"{Secret('hunter2')} {Secret('hunter2')!r}" == "*** ***"

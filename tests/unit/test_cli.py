"""The command line over fake hosts: exit codes, the form of errors, --json, and what it imports."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spark_cluster import __version__, places
from spark_cluster.cli import app
from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.error import CheckFailed, HostKeyRejected, Unreachable
from spark_cluster.core.secret import Secret
from spark_cluster.transport.fake import FakeConnector, FakeHost
from spark_cluster.transport.protocol import Completed

from . import world
from .cases import write
from .world import Spark, bare, healthy, sparks, swapped

INVENTORY = str(world.inventory().path)


@dataclass(frozen=True)
class Said:
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """--json: every line is an object."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Said]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in an empty folder with an empty home; `hosts` answer."""
    for name in ("SPARK_CLUSTER_INVENTORY", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("spark_cluster.runner.run._POLL", lambda _: 0.0)

    def run(*arguments: str, hosts: Sequence[FakeHost] = ()) -> Said:
        monkeypatch.setattr("spark_cluster.cli.running.connector", lambda: FakeConnector(hosts))
        capsys.readouterr()
        code = app.run(list(arguments))
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


def journal(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "home/.local/state/spark-cluster/journal").glob("*.jsonl"))


def down(name: str) -> Spark:
    host = Spark(name)
    host.down = Unreachable(f"{name}: no route to host", host=name, remedy="Is it on?")
    return host


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


# Errors of what the user wrote


def assert_told(said: Said, *parts: str) -> None:
    """One error, in the one form, on standard error."""
    assert said.code == 2
    assert said.out == ""
    first, *rest = said.err.splitlines()
    assert first.startswith("error: ")
    assert any(line.startswith("  next: ") for line in rest)
    for part in parts:
        assert part in said.err
    assert "Traceback" not in said.err


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
        (["bootstrap", "--set", "swap.state=gone"], ["--set swap.state", "'off', 'on' or 'keep'"]),
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


def test_an_inventory_that_is_not_there(cli: Cli) -> None:
    assert_told(cli("status", "-i", "/no/such.yaml"), "/no/such.yaml", "No such file")


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
    assert app.error_text(error).splitlines() == [
        "error: a.yaml:3: spark-2 jumbo-ping: it does not",
        "  command: ping x",
        "  the host said:",
        "    one",
        "    two",
        "  next: Mend it.",
        "  more: spark-cluster explain NET004",
    ]
    assert error.as_dict()["exit_code"] == 4


def test_a_secret_never_prints() -> None:
    assert f"{Secret('hunter2')} {Secret('hunter2')!r}" == "*** ***"


# explain


@pytest.mark.parametrize("code", ["NET004", "net004"])
def test_explain_says_why_and_what_to_do(cli: Cli, code: str) -> None:
    said = cli("explain", code)
    assert said.code == 0
    assert said.out.startswith("NET004: Jumbo frames do not pass")
    assert "What to do" in said.out


def test_explain_lists_all_codes(cli: Cli) -> None:
    said = cli("explain")
    assert [line.split()[0] for line in said.out.splitlines()] == list(DIAGNOSES)
    assert [entry["code"] for entry in json.loads(cli("explain", "--json").out)] == list(DIAGNOSES)


def test_explain_of_an_unknown_code(cli: Cli) -> None:
    assert_told(cli("explain", "NET999"), "there is no diagnosis 'NET999'", "lists all codes")


def test_every_diagnosis_says_why_and_how_it_is_mended() -> None:
    for code, entry in DIAGNOSES.items():
        assert re.fullmatch(r"[A-Z]+\d{3}", code)
        assert entry.title
        assert len(entry.why) > 30
        assert len(entry.fix) > 15


# recipes


def test_recipes_are_listed_and_shown(cli: Cli) -> None:
    said = cli("recipes", "-i", INVENTORY)
    assert said.code == 0
    assert "\nqwen3-vl-235b " in said.out
    shown = cli("recipes", "show", "qwen3-vl-235b", "-i", INVENTORY)
    assert shown.code == 0
    assert "--gpu-memory-utilization 0.70" in shown.out
    assert "0.75 crashes while CUDA graphs are captured" in shown.out
    as_json = json.loads(cli("recipes", "show", "qwen3-vl-235b", "--json", "-i", INVENTORY).out)
    assert as_json["nodes"] == 2


def test_one_broken_recipe_is_told_with_its_place(cli: Cli) -> None:
    path = write(Path("playbooks/recipes/mine.yaml"), "name: mine\n")
    said = cli("recipes", "-i", INVENTORY)
    assert said.code == 2
    assert str(path.absolute()) in said.err


# bootstrap and plan


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


# launch


def launching(name: str) -> Spark:
    host = Spark(name).effect("docker run", containers=world.running(name, serving=False))
    host.carries = world.TOKEN_UNITS
    host.effect("sitecustomize.py", files=world.deployment().files[0].path)
    if name == "spark-2":
        host.effect("docker run", ray=world.ray_nodes())
        up = {"containers": world.running(name), "server": world.SERVER_UP}
        host.effect("docker exec --detach", **up)
    return host


def test_a_launch_ends_with_the_endpoint_and_the_next_command(cli: Cli) -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    said = cli("launch", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "qwen3-vl-235b is ready: http://192.168.102.11:8000/v1" in said.out
    assert "curl http://192.168.102.11:8000/v1/chat/completions" in said.out
    assert "next: spark-cluster verify-rdma" in said.out
    assert [host.connections for host in hosts] == [1, 1]
    again = cli("launch", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    assert again.code == 0
    assert "qwen3-vl-235b is already up: http://192.168.102.11:8000/v1" in again.out


def test_the_printed_curl_line_is_sound_shell_and_json(cli: Cli, tmp_path: Path) -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    said = cli("launch", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    (line,) = [line for line in said.out.splitlines() if line.startswith("  curl ")]
    fake = write(tmp_path / "bin/curl", '#!/bin/sh\nfor w; do printf "%s\\n" "$w"; done\n')
    fake.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        env={"PATH": str(tmp_path / "bin")},
        text=True,
        capture_output=True,
    )
    words = done.stdout.splitlines()
    body = json.loads(words[words.index("-d") + 1])
    assert body["model"] == world.deployment().model


def test_no_wait_returns_once_the_server_is_started(cli: Cli) -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    said = cli("launch", "qwen3-vl-235b", "--no-wait", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "started, not yet ready" in said.out
    assert not any("/v1/completions" in script for script in hosts[0].scripts)


def test_a_refused_launch_starts_nothing(cli: Cli) -> None:
    hosts = [Spark("spark-2"), Spark("spark-3", {"image": ""})]
    said = cli("launch", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    assert "SERVE002" in said.out
    assert "Nothing was started" in said.out
    assert [host.changes for host in hosts] == [[], []]
    assert [host.held for host in hosts] == [[], []]


def test_a_launch_says_which_recipe_it_extends(cli: Cli) -> None:
    write(
        Path("playbooks/recipes/small.yaml"),
        "name: small\nextends: qwen3-vl-235b\nnote: for the test\nrequires: {memory_gib: 1}\n",
    )
    hosts = [Spark("spark-2", {"image": ""}), Spark("spark-3")]
    said = cli("launch", "small", "-i", INVENTORY, hosts=hosts)
    assert "small.yaml extends" in said.out
    assert "for the test" in said.out


# verify-rdma


def serving(name: str) -> Spark:
    return Spark(name, {"containers": world.running(name)})


def with_traffic(units: int) -> list[Spark]:
    hosts = [Spark("spark-1"), serving("spark-2"), serving("spark-3")]

    def tokens(_: str) -> str:
        for host in hosts[1:]:
            host.texts["counters"] = world.moved(host.texts["counters"], "rocep1s0f1", units)
        return world.tokens(32)

    hosts[1].on("/v1/completions", tokens)
    return hosts


def test_the_verdict_rdma_ends_with_0(cli: Cli) -> None:
    said = cli("verify-rdma", "-i", INVENTORY, hosts=with_traffic(12_400_000))
    assert said.code == 0
    assert "verdict: rdma" in said.out
    assert "rocep1s0f1" in said.out
    assert "tx/token" in said.out
    # A row is one line, however narrow the pipe is thought to be.
    assert re.search(r"^spark-3 +1 +rocep1s0f1 .*\d+\.?\d* MiB .*$", said.out, re.MULTILINE)


def test_the_verdict_socket_ends_with_4(cli: Cli) -> None:
    said = cli("verify-rdma", "-i", INVENTORY, hosts=with_traffic(0))
    assert said.code == 4
    assert "verdict: socket" in said.out
    assert "spark-cluster explain RDMA010" in said.out


def test_the_verdict_as_json(cli: Cli) -> None:
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_traffic(12_400_000))
    verdict = said.lines[-1]["data"]["verdict"]
    assert verdict["kind"] == "rdma"
    assert {row["rail"] for row in verdict["rows"]} >= {"rocep1s0f1", "roceP2p1s0f1"}


def test_tokens_are_those_that_are_asked_for(cli: Cli) -> None:
    hosts = with_traffic(12_400_000)
    cli("verify-rdma", "--tokens", "7", "-i", INVENTORY, hosts=hosts)
    (asked,) = [script for script in hosts[1].scripts if "/v1/completions" in script]
    assert '"max_tokens": 7' in asked


def test_nothing_to_verify(cli: Cli) -> None:
    said = cli("verify-rdma", "-i", INVENTORY, hosts=sparks())
    assert said.code == 4
    assert "no running head container of ours" in said.err
    assert "spark-cluster launch" in said.err


def test_a_rank_that_is_away_is_unknown(cli: Cli) -> None:
    hosts = with_traffic(12_400_000)
    hosts[2].down = Unreachable("no route", remedy="Is it on?")
    said = cli("verify-rdma", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    assert "verdict: rdma" not in said.out


# teardown


def torn(name: str) -> Spark:
    return serving(name).effect("docker rm --force", containers="")


def test_a_teardown_needs_no_state_of_its_own(cli: Cli) -> None:
    hosts = [Spark("spark-1"), torn("spark-2"), torn("spark-3")]
    said = cli("teardown", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "nothing of ours runs on spark-1, spark-2, spark-3" in said.out
    assert [host.connections for host in hosts] == [1, 1, 1]
    assert "launch\\ by\\ *" in hosts[1].held[0].script


def test_a_teardown_without_one_host_calls_it_unknown(cli: Cli) -> None:
    hosts = [Spark("spark-1"), torn("spark-2"), down("spark-3")]
    said = cli("teardown", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    assert "unknown: spark-3 was not reached" in said.out
    assert "spark-cluster teardown --resume" in said.out
    assert "nothing of ours runs" not in said.out
    assert hosts[1].texts["containers"] == ""


def test_a_teardown_goes_on_where_another_host_fails(cli: Cli) -> None:
    broken = Spark("spark-1", {"containers": "error Cannot connect to the Docker daemon\n"})
    hosts = [broken, torn("spark-2"), torn("spark-3")]
    said = cli("teardown", "--set", "gone.seconds=0.05", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    assert [host.texts["containers"] for host in hosts[1:]] == ["", ""]


def test_a_teardown_may_bring_the_swap_back(cli: Cli) -> None:
    on = swapped("spark-2").texts["swap"]
    host = torn("spark-2").effect("swapon /swap.img", swap=on)
    said = cli("teardown", "--restore-swap", "--hosts", "spark-2", "-i", INVENTORY, hosts=[host])
    assert said.code == 0
    assert host.texts["swap"] == on


# status


def test_status_shows_what_runs_and_exits_0(cli: Cli) -> None:
    hosts = [Spark("spark-1"), serving("spark-2"), serving("spark-3")]
    answer = "\nspark-cluster: HTTP 200 0.001 s \n"
    hosts[1].texts["engine"] = answer + "vllm:num_requests_running 2.0" + answer
    said = cli("status", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "vllm-head (qwen3-vl-235b, rank 0) running" in said.out
    assert "/health answers on port 8000" in said.out
    assert "swap off" in said.out
    assert [host.connections for host in hosts] == [1, 1, 1]
    assert [host.execs for host in hosts] == [1, 1, 1]


def test_status_of_a_host_that_is_away_is_unknown(cli: Cli) -> None:
    said = cli("status", "-i", INVENTORY, hosts=[Spark("spark-1"), down("spark-2")])
    assert said.code == 3
    assert re.search(r"unknown\s+spark-2: spark-2: no route to host", said.out)
    rows = json.loads(cli("status", "--json", "-i", INVENTORY, hosts=[Spark("spark-1")]).out)
    assert [row["state"] for row in rows["hosts"]] == ["up", "unknown", "unknown"]


# Plain text


ESCAPE = "\x1b"


def program(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own."""
    code = "from spark_cluster.cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        text=True,
        capture_output=True,
        cwd=cwd,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": _ROOT, **environment},
    )


_ROOT = str(Path(places.__file__).resolve().parents[1])


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1", "TERM": "xterm-256color"}])
@pytest.mark.parametrize("arguments", [["--help"], ["explain", "NET004"], ["launch", "nothing"]])
def test_pipes_get_no_escape_codes(
    tmp_path: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    done = program(*arguments, cwd=tmp_path, **environment)
    assert ESCAPE not in done.stdout + done.stderr
    assert done.stdout + done.stderr


def test_a_run_on_a_pipe_has_no_escape_codes_and_whole_lines(cli: Cli) -> None:
    hosts = [Spark("spark-1"), swapped("spark-2"), Spark("spark-3", {"gpu": "no GPU\n"})]
    hosts[2].texts["host"] = healthy("host", "spark-3") + "missing=flock\nmissing=netplan\n"
    said = cli("bootstrap", "-v", "-i", INVENTORY, hosts=hosts)
    assert ESCAPE not in said.out + said.err
    assert "flock is not installed" in said.out


# What is imported


HEAVY = ("paramiko", "fabric", "jinja2", "pyroute2", "rich.console", "rich.markdown", "pydantic")


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], HEAVY),
        (["--version"], HEAVY),
        # typer itself (0.29) reads a verb's options with pydantic.
        (["bootstrap", "--help"], HEAVY[:-1]),
    ],
)
def test_help_and_version_import_nothing_heavy(
    tmp_path: Path, arguments: list[str], heavy: tuple[str, ...]
) -> None:
    code = (
        "import sys\nfrom spark_cluster.cli.app import run\n"
        f"code = run({arguments!r})\n"
        f"print('LOADED', code, *[name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": _ROOT},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED 0"


# Completion


def completion(tmp_path: Path, **environment: str) -> str:
    script = Path(sys.executable).parent / "spark-cluster"
    if not script.exists():
        pytest.skip("the console script is not installed beside this Python")
    done = subprocess.run(
        [str(script)],
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_completion_for_bash_is_sound_bash(tmp_path: Path) -> None:
    text = completion(tmp_path, _SPARK_CLUSTER_COMPLETE="source_bash")
    assert "complete " in text
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    done = subprocess.run([bash, "-n"], input=text, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "position", "offered"),
    [
        ("spark-cluster ver", "1", {"verify-rdma"}),
        ("spark-cluster t", "1", {"teardown", "trust"}),
        ("spark-cluster bootstrap --dry", "2", {"--dry-run"}),
    ],
)
def test_bash_is_offered_what_fits(
    tmp_path: Path, words: str, position: str, offered: set[str]
) -> None:
    text = completion(
        tmp_path,
        _SPARK_CLUSTER_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=position,
    )
    assert set(text.split()) == offered

"""`verify-rdma` in all its ways over fake hosts, and what `status` remembers of it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.cli import app
from spark_cluster.core.error import StateUnknown, Unreachable
from spark_cluster.core.units import human_age
from spark_cluster.transport.fake import FakeConnector, FakeHost

from . import world
from .test_cli import launching
from .test_rdma_from_log import DATA as LOGS
from .world import Spark

INVENTORY = str(world.inventory().path)

#: Units of four octets that 32 tokens move over the recipe's rail, each way.
UNITS = 32 * 1540096 // 4


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = self.lines[-1]["data"]["verdict"]
        return found


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
        code = app.run([*arguments])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


def engine(tokens: int, running: int = 1, health: int = 200, prompt: int = 6) -> str:
    """What the server says on rank 0's host."""
    return (
        f"\nspark-cluster: HTTP {health} 0.01 s \n"
        f'vllm:num_requests_running{{engine="0"}} {running}.0\n'
        f'vllm:generation_tokens_total{{engine="0"}} {tokens}.0\n'
        f'vllm:prompt_tokens_total{{engine="0"}} {prompt}.0\n'
        "\nspark-cluster: HTTP 200 0.01 s \n"
    )


GPU = "gpu,NVIDIA GB10, 580.95.05\n"


def asks_health(script: str) -> bool:
    """`status` asks by itself; verify-rdma within its probe."""
    return "/health" in script and world.MARK not in script


class Rank(Spark):
    """A host on which a rank runs. Between two readings it moves `units` and generates `tokens`."""

    def __init__(self, name: str, *, units: int = 0, tokens: int = 0, running: int = 1) -> None:
        super().__init__(name, {"containers": world.running(name), "gpu": f"{GPU}app,4211, x\n"})
        self.units, self.tokens, self.requests = units, tokens, running
        self.readings = self.total = 0
        self.head = name == "spark-2"
        self.at: dict[int, Callable[[], object]] = {}
        self.on(asks_health, "\nspark-cluster: HTTP 200 0.01 s \n")

    def probe(self, script: str) -> str:
        self.readings += 1
        if self.readings in self.at:
            self.at[self.readings]()
        self.total += self.tokens
        self.texts["counters"] = world.moved(self.texts["counters"], "rocep1s0f1", self.units)
        old = f"rdma:uptime:{86400 + 5 * (self.readings - 1)}.25"
        new = f"rdma:uptime:{86400 + 5 * self.readings}.25"
        self.texts["counters"] = self.texts["counters"].replace(old, new)
        if self.head:
            self.texts["engine"] = engine(self.total, self.requests)
        return super().probe(script)


def pair(units: int = 0, tokens: int = 0, running: int = 1) -> list[Rank]:
    return [Rank(name, units=units, tokens=tokens, running=running) for name in world.PAIR]


def with_third(hosts: Sequence[Rank]) -> list[Spark]:
    return [Spark("spark-1"), *hosts]


# What goes together


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--live", "--watch"], "--live and --watch do not go together"),
        (["--live", "--tokens", "3"], "--tokens and --live do not go together"),
        (["--probe", "--from-log", "x"], "--probe and --from-log do not go together"),
        (["a.log"], "takes files only with --from-log"),
        (["--live", "a.log"], "takes files only with --from-log"),
        (["--interval", "0.1", "--live"], "'--interval'"),
    ],
)
def test_ways_that_exclude_each_other(cli: Cli, arguments: list[str], says: str) -> None:
    said = cli("verify-rdma", *arguments)
    assert said.code == 2
    assert says in said.err
    assert said.out == ""


# From logs


def test_logs_alone_need_no_inventory(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_CLUSTER_INVENTORY", "/nowhere.yaml")
    said = cli("verify-rdma", "--from-log", str(LOGS / "ib-roce-two-hosts-2.19.log"))
    assert said.code == 0
    assert "verdict: rdma" in said.out
    assert "mlx5_10, mlx5_11" in said.out
    assert "2.19.3" in said.out


def test_logs_of_sockets_end_with_4(cli: Cli) -> None:
    name = str(LOGS / "nccl-2.28.9-socket-silent-fallback.rank0.log")
    said = cli("verify-rdma", "--from-log", name)
    assert said.code == 4
    assert "verdict: socket" in said.out
    assert "fell back to sockets without an error" in said.out


def test_several_logs_one_after_the_other(cli: Cli) -> None:
    one, other = sorted(str(path) for path in LOGS.glob("*socket*"))
    for arguments in ([one, other], [one, "--from-log", other]):
        said = cli("verify-rdma", "--from-log", *arguments, "--json")
        (line,) = said.lines
        assert (said.code, line["kind"], line["verdict"]) == (4, "nccl_log", "socket")
        assert {name for rank in line["ranks"] for name in rank["files"]} == {one, other}


def test_a_log_on_standard_input(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (LOGS / "ib-roce-two-hosts-2.19.log").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert cli("verify-rdma", "--from-log", "-").code == 0


def test_a_log_without_nccl_says_how_to_get_one(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("INFO all is well\n")
    said = cli("verify-rdma", "--from-log", str(tmp_path / "app.log"))
    assert said.code == 2
    assert "no rank of NCCL's in this log" in said.err
    assert "NCCL_DEBUG=INFO" in said.err


def test_a_log_that_is_not_there(cli: Cli) -> None:
    said = cli("verify-rdma", "--from-log", "nowhere.log", "--json")
    assert said.code == 2
    assert said.lines[0]["error"]["place"] == "nowhere.log"


# Live


def test_live_judges_the_traffic_that_is_there(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)
    said = cli("verify-rdma", "--live", "--interval", "0.5", "-i", INVENTORY, "--json", hosts=hosts)
    assert said.code == 0
    assert (said.verdict["kind"], said.verdict["tokens"]) == ("rdma", 32)
    assert said.verdict["seconds"] == pytest.approx(5.0)  # by the host's clock
    assert [len(host.runs) for host in hosts] == [2, 2]
    assert not any("/v1/completions" in script for script in hosts[0].scripts)


@pytest.mark.parametrize(
    ("units", "running", "code", "words"),
    [
        (0, 0, "RDMA013", "nothing was generated, so nothing is proved"),
        (0, 2, "RDMA015", "2 requests are running, and RDMA carried nothing: generation is stuck"),
        (UNITS, 1, "RDMA013", "1 request is running: RDMA carried 47 MiB meanwhile, so a prompt"),
    ],
)
def test_live_without_tokens(cli: Cli, units: int, running: int, code: str, words: str) -> None:
    hosts = pair(units=units, running=running)
    said = cli("verify-rdma", "--live", "--interval", "0.5", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    assert "verdict: idle" in said.out
    assert words in said.out
    assert f"spark-cluster explain {code}" in said.out


def test_live_names_a_dead_rank_behind_a_healthy_server(cli: Cli) -> None:
    hosts = pair()
    hosts[1].texts["gpu"] = GPU
    said = cli("verify-rdma", "--live", "--interval", "0.5", "-i", INVENTORY, "--json", hosts=hosts)
    assert said.code == 4
    assert (said.verdict["kind"], said.verdict["code"]) == ("idle", "RDMA016")
    assert said.verdict["reasons"][0] == (
        "spark-3 (rank 1) is dead, while /health answers 200: no process of vllm-worker holds the "
        "GPU."
    )


def test_live_on_an_engine_that_does_not_count_tokens(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)
    hosts[0].head = False
    said = cli("verify-rdma", "--live", "--interval", "0.5", "-i", INVENTORY, "--json", hosts=hosts)
    assert (said.code, said.verdict["kind"]) == (4, "unknown")
    assert "do not count generated tokens as vLLM's do" in said.verdict["reasons"][0]


def test_live_where_nothing_runs(cli: Cli) -> None:
    hosts = [Spark("spark-1")]
    said = cli(
        "verify-rdma", "--live", "--interval", "0.5", "--hosts", "spark-1", "-i", INVENTORY,
        hosts=hosts,
    )  # fmt: skip
    assert said.code == 4
    assert "no running head container of ours" in said.err


def test_live_when_no_host_answers_any_more(cli: Cli) -> None:
    host = Rank("spark-2")
    host.on(world.MARK, StateUnknown("the connection was lost", remedy="Look at it."))
    said = cli("verify-rdma", "--live", "--interval", "0.5", "--hosts", "spark-2", "-i", INVENTORY,
               hosts=[host])  # fmt: skip
    assert said.code == 3
    assert "no host answers: spark-2" in said.err


# Watch


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def watched(cli: Cli, hosts: Sequence[FakeHost], *more: str) -> Said:
    return cli("verify-rdma", "--watch", "--interval", "0.5", "-i", INVENTORY, *more, hosts=hosts)


def test_watch_is_a_line_an_interval_and_ends_with_the_last_verdict(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)
    hosts[0].at[4] = interrupt
    said = watched(cli, hosts)
    lines = [line for line in said.out.splitlines() if "tok/s" in line]
    assert len(lines) == 3
    assert "6.4 tok/s  spark-2 rocep1s0f1 9.9 MB/s out 9.9 in" in lines[0]
    assert all(line.endswith("errors 0  rdma") for line in lines)
    # The reasons stand below the first line and are not repeated.
    assert said.out.count("travelled by RDMA") == 1
    assert said.code == 0
    assert [len(host.runs) for host in hosts] == [4, 4]


def test_watch_as_json_and_in_the_journal(cli: Cli, tmp_path: Path) -> None:
    hosts = pair(units=UNITS, tokens=32)
    hosts[0].at[4] = lambda: setattr(hosts[0], "tokens", 0)
    hosts[0].at[5] = interrupt
    said = watched(cli, hosts, "--json")
    lines = [line for line in said.lines if line["kind"] == "watched"]
    assert lines[0]["verdict"] == "rdma"
    assert lines[0]["tokens_per_second"] == 6.4
    assert lines[0]["time"] < lines[1]["time"]
    assert {rail["rail"] for rail in lines[0]["rails"]} >= {"rocep1s0f1"}
    assert said.lines[-1]["kind"] == "run_finished"
    assert said.lines[-1]["exit_code"] == said.code == 4
    (book,) = (tmp_path / "home/.local/state/spark-cluster/journal").glob("*-verify-rdma.jsonl")
    kept = [json.loads(line) for line in book.read_text().splitlines()]
    assert [line["verdict"] for line in lines] == ["rdma", "rdma", "idle", "idle"]
    # The journal keeps the changes.
    assert [line["verdict"] for line in kept if line["kind"] == "watched"] == ["rdma", "idle"]


def test_watch_goes_on_when_a_host_dies(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)

    def die() -> None:
        hosts[1].down = Unreachable("no route", remedy="Is it on?")
        raise StateUnknown("the connection was lost", host="spark-3", remedy="Again.")

    hosts[1].at[3] = die
    hosts[0].at[5] = interrupt
    said = watched(cli, hosts)
    lines = [line for line in said.out.splitlines() if "tok/s" in line]
    assert [line.rpartition("  ")[2] for line in lines] == ["rdma", "unknown", "unknown", "unknown"]
    assert "spark-3 (rank 1) could not be read." in said.out
    assert said.code == 3


def test_watch_stopped_before_its_first_interval(cli: Cli) -> None:
    hosts = pair()
    hosts[0].at[1] = interrupt
    said = watched(cli, hosts)
    assert said.code == 130
    assert "stopped before the first interval was over" in said.err


# With tokens of our own


def test_a_dead_rank_is_named_and_the_server_is_left_alone(cli: Cli) -> None:
    hosts = pair(running=0)
    hosts[1].texts["gpu"] = GPU
    said = cli("verify-rdma", "-i", INVENTORY, hosts=with_third(hosts))
    assert said.code == 4
    assert "spark-3 (rank 1) is dead, while /health answers 200" in said.out
    assert "spark-cluster explain RDMA016" in said.out
    assert not any("/v1/completions" in script for script in hosts[0].scripts)


def test_a_container_that_ended_is_a_dead_rank(cli: Cli) -> None:
    hosts = pair(running=0)
    hosts[1].texts["containers"] = world.running("spark-3", state="exited", status=137)
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    assert said.verdict["code"] == "RDMA016"
    assert "vllm-worker is exited, exit code 137" in said.verdict["reasons"][0]


def test_a_wedge_is_named(cli: Cli) -> None:
    """The request runs into its time limit, the counter stands still, the request still runs."""
    hosts = pair(running=1)
    hosts[0].on("/v1/completions", "\nspark-cluster: HTTP 000 120.0 s Operation timed out\n")
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    assert said.code == 4
    assert (said.verdict["kind"], said.verdict["code"]) == ("idle", "RDMA015")
    assert said.verdict["reasons"][:2] == [
        "The server gave no tokens: Operation timed out.",
        "No tokens in 120.0 s although 1 request is running, and RDMA carried nothing: generation "
        "is stuck.",
    ]


def test_tokens_of_others_are_counted_too(cli: Cli) -> None:
    """Someone else's requests make most of the traffic: it is not called too much."""
    hosts = pair(units=10 * UNITS, tokens=320)
    hosts[0].on("/v1/completions", world.tokens(32))
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    assert (said.verdict["kind"], said.verdict["tokens"]) == ("rdma", 320)


def test_our_request_refused_leaves_the_traffic_of_others(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)
    hosts[0].on("/v1/completions", '{"error":"Unauthorized"}\nspark-cluster: HTTP 401 0.1 s \n')
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    assert said.verdict["kind"] == "rdma"
    assert "HTTP 401: Unauthorized" in " ".join(said.verdict["reasons"])


def test_a_server_on_one_host_beside_the_group_is_not_meant(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)
    alone = Spark("spark-1")
    text = hosts[0].texts["containers"].replace('"spark-2,spark-3"', '"spark-1"')
    alone.texts["containers"] = text.replace("qwen3-vl-235b", "another")
    said = cli("verify-rdma", "--live", "--interval", "0.5", "-i", INVENTORY, "--json",
               hosts=[alone, *hosts])  # fmt: skip
    assert (said.code, said.verdict["kind"]) == (0, "rdma")
    assert said.lines[-1]["data"]["served"]["hosts"] == ["spark-2", "spark-3"]


def test_an_engine_on_one_host_has_nothing_to_verify(cli: Cli) -> None:
    host = Rank("spark-2")
    text = host.texts["containers"]
    host.texts["containers"] = text.replace('"spark-2,spark-3"', '"spark-2"')
    for more in ([], ["--live", "--interval", "0.5"]):
        said = cli("verify-rdma", *more, "--hosts", "spark-2", "-i", INVENTORY, hosts=[host])
        assert said.code == 2
        assert "runs on one host (spark-2)" in said.err
        assert "verify-rdma --probe" in said.err


@pytest.mark.parametrize(
    ("fact", "text", "code", "words"),
    [
        (
            "grants",
            "@@container /vllm-worker\nMax locked memory  unlimited  unlimited  bytes\n",
            "RDMA017",
            "vllm-worker on spark-3 (rank 1) has no /dev/infiniband",
        ),
        (
            "nccl",
            "x:1:2 [0] NCCL INFO NCCL_IB_HCA set to =mlx5_7:1\n"
            "x:1:2 [0] NCCL INFO Using network Socket\n",
            "RDMA018",
            "NCCL_IB_HCA is =mlx5_7:1, which selects none of the host's devices",
        ),
    ],
)
def test_a_cause_gives_the_code(cli: Cli, fact: str, text: str, code: str, words: str) -> None:
    hosts = pair(tokens=32)
    hosts[0].on("/v1/completions", world.tokens(32))
    hosts[1].texts[fact] = text
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    assert (said.verdict["kind"], said.verdict["code"]) == ("socket", code)
    assert words in " ".join(said.verdict["reasons"])


# Launch


def launch(cli: Cli, carries: int, *more: str) -> Said:
    hosts = [launching("spark-2"), launching("spark-3")]
    for host in hosts:
        host.carries = carries
    return cli("launch", "qwen3-vl-235b", "-i", INVENTORY, *more, hosts=hosts)


def test_a_launch_ends_with_the_verdict(cli: Cli) -> None:
    said = launch(cli, world.TOKEN_UNITS)
    assert said.code == 0
    assert said.out.index("verdict: rdma") < said.out.index("is ready: http://")
    assert "next: spark-cluster verify-rdma --watch" in said.out
    assert launch(cli, world.TOKEN_UNITS, "--json").verdict["kind"] == "rdma"


def test_a_launch_on_sockets_is_up_and_ends_with_4(cli: Cli) -> None:
    said = launch(cli, 0)
    assert said.code == 4
    assert "verdict: socket" in said.out
    assert "qwen3-vl-235b is up and answers: http://192.168.102.11:8000/v1" in said.out
    assert "is ready" not in said.out
    assert "The containers are left as they are" not in said.out


def test_a_launch_that_is_not_waited_for_has_no_verdict(cli: Cli) -> None:
    said = launch(cli, 0, "--no-wait")
    assert said.code == 0
    assert "verdict:" not in said.out


# Status


def test_status_shows_the_last_verdict_with_its_age(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)
    assert json.loads(cli("status", "-i", INVENTORY, "--json", hosts=hosts).out)["verdict"] is None
    cli("verify-rdma", "--live", "--interval", "0.5", "-i", INVENTORY, hosts=hosts)
    said = cli("status", "-i", INVENTORY, hosts=hosts)
    assert re.search(r"RDMA verdict: rdma, \d+ s ago, on qwen3-vl-235b\n", said.out)
    found = json.loads(cli("status", "-i", INVENTORY, "--json", hosts=hosts).out)["verdict"]
    assert (found["kind"], found["current"], found["by"]) == ("rdma", True, "verify-rdma")
    for host in hosts:
        host.texts["containers"] = ""
    said = cli("status", "-i", INVENTORY, hosts=hosts)
    assert f"of an earlier launch ({world.RUN}), not on what runs now" in said.out


def test_status_says_why_a_verdict_is_not_rdma(cli: Cli) -> None:
    hosts = pair(tokens=32)
    cli("verify-rdma", "--live", "--interval", "0.5", "-i", INVENTORY, hosts=hosts)
    said = cli("status", "-i", INVENTORY, hosts=hosts)
    assert re.search(r"RDMA verdict: socket, \d+ s ago, on qwen3-vl-235b: ", said.out)
    assert "no RDMA device of any rank carried them" in said.out


def test_a_verdict_on_another_inventory_is_not_ours(cli: Cli, tmp_path: Path) -> None:
    copy = tmp_path / "other.yaml"
    copy.write_text(Path(INVENTORY).read_text())
    hosts = pair(units=UNITS, tokens=32)
    cli("verify-rdma", "--live", "--interval", "0.5", "-i", str(copy), hosts=hosts)
    said = cli("status", "-i", INVENTORY, "--json", hosts=hosts)
    assert json.loads(said.out)["verdict"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min"), (7200, "2 h"), (86400, "1 day"), (2e5, "2 days")],
)
def test_an_age_in_its_largest_unit(seconds: float, text: str) -> None:
    assert human_age(seconds) == text

"""`verify-rdma --live` and `--watch` over fake hosts."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from spark_cluster.core.error import StateUnknown, Unreachable
from tests.command_line import Cli, Said
from tests.fake_transport import FakeHost

from . import world
from .ranks import GPU, UNITS, Rank, pair
from .world import INVENTORY, Spark

# Live


def test_live_judges_the_traffic_that_is_there(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)
    said = cli("verify-rdma", "--live", "--interval", "0.5", "-i", INVENTORY, "--json", hosts=hosts)
    assert said.code == 0
    assert (said.data["verdict"]["kind"], said.data["verdict"]["tokens"]) == ("rdma", 32)
    assert said.data["verdict"]["seconds"] == pytest.approx(5.0)  # by the host's clock
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
    assert (said.data["verdict"]["kind"], said.data["verdict"]["code"]) == ("idle", "RDMA016")
    assert said.data["verdict"]["reasons"][0] == (
        "spark-3 (rank 1) is dead, while /health answers 200: no process of vllm-worker holds the "
        "GPU."
    )


def test_live_on_an_engine_that_does_not_count_tokens(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)
    hosts[0].head = False
    said = cli("verify-rdma", "--live", "--interval", "0.5", "-i", INVENTORY, "--json", hosts=hosts)
    assert (said.code, said.data["verdict"]["kind"]) == (4, "unknown")
    assert "do not count generated tokens as vLLM's do" in said.data["verdict"]["reasons"][0]


def test_live_names_a_server_that_does_not_answer(cli: Cli) -> None:
    """Late is not the same as another engine's metrics."""
    hosts = pair(units=UNITS, tokens=32)
    hosts[0].head = False
    hosts[0].texts["engine"] = (
        "\n@@http 200 0.01 s \n\n@@http 000 5.00 s Operation timed out after 5001 milliseconds\n"
    )
    said = cli("verify-rdma", "--live", "--interval", "0.5", "-i", INVENTORY, "--json", hosts=hosts)
    assert (said.code, said.data["verdict"]["kind"]) == (4, "unknown")
    assert said.data["verdict"]["reasons"][0] == (
        "The server's /metrics on spark-2 gave no answer: Operation timed out after 5001 "
        "milliseconds."
    )


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


def test_watch_says_once_what_else_runs(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)
    alone = Spark("spark-1")

    def launch() -> None:
        text = hosts[0].texts["containers"].replace('"spark-2,spark-3"', '"spark-1"')
        later = text.replace("qwen3-vl-235b", "another").replace(world.RUN, "20261122-031500-9f3a")
        alone.texts["containers"] = later

    hosts[0].at[3] = launch
    hosts[0].at[6] = interrupt
    said = watched(cli, [alone, *hosts])
    lines = [line for line in said.out.splitlines() if "tok/s" in line]
    assert len(lines) == 5
    assert all(line.endswith("errors 0  rdma") for line in lines)
    assert said.out.count("not judged: another on spark-1 (one host: nothing to verify)") == 1
    assert said.code == 0


def test_watch_takes_a_late_docker_for_no_empty_host(cli: Cli) -> None:
    """What runs is not known until docker answers; the watch goes on."""
    hosts = pair(units=UNITS, tokens=32)
    there = hosts[0].texts["containers"]
    hosts[0].texts["containers"] = "@@error docker ps gave no answer within 20 s\n"
    hosts[0].at[3] = lambda: hosts[0].texts.update(containers=there)
    hosts[0].at[5] = interrupt
    said = watched(cli, hosts)
    assert "what runs is not known yet: spark-2: docker ps gave no answer" in said.out
    assert "errors 0  rdma" in said.out
    assert said.code == 0, said.out + said.err


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

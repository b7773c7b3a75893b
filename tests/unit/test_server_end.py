"""A server that has ended in a container that runs on: what is read of it, and who names it."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.facts.base import Facts, ProbeContext
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.ended import SERVER_END, Ended
from spark_cluster.workload.served import dead, ended, server_down, to_verify
from tests.command_line import Cli

from . import world
from .ranks import GPU, pair, with_third
from .test_evidence import packed
from .world import INVENTORY, Spark

KILLED = (world.DATA / "h200" / "ray-killed-head.log").read_text(encoding="utf-8")
BEGINS = "spark-cluster: vllm serve begins"

#: What Ray prints before a server is started, and what it and vLLM print while all is well.
WELL = [
    *(world.DATA / "h200" / "ray-worker.log").read_text(encoding="utf-8").splitlines(),
    *(world.DATA / "h200" / "ray-head.log").read_text(encoding="utf-8").splitlines(),
]

REFUSED = "\n@@http 000 0.0 s Failed to connect to 127.0.0.1 port 8000 after 0 ms\n" * 2
WHAT = "has ended (exit status 0): rank 1 (spark-3) died"
DOWN = f"The server in vllm-head on spark-2 {WHAT}."


def printed(log: str, name: str = "vllm-head") -> str:
    """As the fact's shell prints a log."""
    return f"@@container {name}\n" + "".join(f"| {line}\n" for line in log.splitlines())


def after_the_kill(running: int = 0) -> list[Any]:
    """Two hosts as they were found: Ray runs on both, its rank is gone and so is the server."""
    hosts = pair(running=running)
    hosts[0].texts |= {
        "containers": world.running("spark-2", serving=False),
        "server-end": printed(KILLED),
    }
    hosts[0].head = False  # so that its engine is what this says
    hosts[0].texts["engine"] = REFUSED
    for host in hosts:
        host.texts["gpu"] = GPU
    return hosts


# Reading


def test_the_recorded_end_names_the_rank() -> None:
    found = SERVER_END.parse(printed(KILLED))
    assert found == {"vllm-head": Ended(0, True, (1,), "the process of rank 1 died")}
    assert found["vllm-head"].how(("spark-2", "spark-3")) == WHAT


def test_without_ray_the_executor_names_it_otherwise() -> None:
    line = (
        "(EngineCore pid=25) ERROR 11-30 [multiproc_executor.py:310] Worker proc VllmWorker-1 died"
    )
    found = SERVER_END.parse(printed(f"{BEGINS}\n{line} unexpectedly, shutting down executor.\n"))
    assert found["vllm-head"].ranks == (1,)
    assert found["vllm-head"].status is None


def test_an_earlier_servers_end_says_nothing_of_the_last() -> None:
    log = f"{BEGINS}\n{KILLED}\n{BEGINS}\nspark-cluster: vllm serve exited with 137\n"
    assert SERVER_END.parse(printed(log))["vllm-head"] == Ended(137, False, (), "")


def test_a_log_without_a_mark_tells_of_no_end() -> None:
    """Between Ray's start and the server's no server runs either."""
    for number in range(len(WELL)):
        assert SERVER_END.parse(printed("\n".join(WELL[: number + 1]))) == {}


def test_a_line_that_looks_like_a_mark_of_the_fact_is_a_line() -> None:
    log = f"@@container other\n{BEGINS}\n@@container third\n"
    assert set(SERVER_END.parse(printed(log))) == {"vllm-head"}


LINES = [*KILLED.splitlines(), BEGINS, "@@container x", "| y"]


@given(st.lists(st.one_of(st.text(), st.sampled_from(LINES))))
def test_it_takes_any_text(lines: list[str]) -> None:
    for found in SERVER_END.parse("\n".join(lines)).values():
        assert found.how()


# The shell

DOCKER = """
case $1 in
  ps) echo abc123;;
  image) echo null;;
  inspect) case $3 in *Name*) echo /vllm-head;; *) echo 2026-11-30T16:26:01Z;; esac;;
  top) n=$(($(cat "$FOLDER/tops" 2>/dev/null || echo 0) + 1)); echo $n >"$FOLDER/tops"
    cat "$FOLDER/top-$n" 2>/dev/null || cat "$FOLDER/top";;
  logs) cat "$FOLDER/log";;
esac
"""
RAY = (
    "PID COMMAND\n14187 /usr/bin/python3 /usr/local/bin/ray start --head --block\n16149 ray::IDLE\n"
)
SERVING = f"{RAY}14999 /usr/bin/python3 /usr/local/bin/vllm serve spark-cluster/tiny\n"


def shell(folder: Path, log: str, *tops: str) -> str:
    """What the fact's shell prints; `docker top` prints these in turn, then the last of them."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{DOCKER}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (folder / "log").write_text(log)
    for number, top in enumerate(tops, 1):
        (folder / f"top-{number}").write_text(top)
    (folder / "top").write_text(tops[-1])
    script = SERVER_END.script(ProbeContext(world.inventory().hosts["spark-2"], world.inventory()))
    ran = subprocess.run(
        ["sh", "-eu"],
        input=script,
        env={"PATH": f"{folder}:{os.environ['PATH']}", "FOLDER": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert ran.stderr == ""
    return ran.stdout


def test_the_shell_reads_the_end(tmp_path: Path) -> None:
    found = SERVER_END.parse(shell(tmp_path, KILLED, RAY))
    assert found["vllm-head"].ranks == (1,)


def test_the_shell_keeps_what_matters_of_a_long_log(tmp_path: Path) -> None:
    log = f"{BEGINS}\nINFO:     Application startup complete.\n" + "GET /health 200\n" * 3000
    text = shell(tmp_path, log + "spark-cluster: vllm serve exited with 1\n", RAY)
    assert SERVER_END.parse(text)["vllm-head"] == Ended(1, True)
    assert len(text.splitlines()) < 410


@pytest.mark.parametrize(
    ("log", "tops"),
    [
        (KILLED, [SERVING]),  # what a log says is not believed while a server runs
        ("\n".join(WELL), [RAY]),  # none was started yet
        (KILLED, ["PID COMMAND\n"]),  # docker lists nothing
        (KILLED, [RAY, SERVING]),  # one was started meanwhile
    ],
)
def test_the_shell_finds_no_end(tmp_path: Path, log: str, tops: list[str]) -> None:
    assert SERVER_END.parse(shell(tmp_path, log, *tops)) == {}


# What of ours serves


def facts_of(hosts: list[Any]) -> dict[str, Facts]:
    return {
        host.name: Facts(
            {fact.name: fact.parse(host.texts[fact.name]) for fact in (CONTAINERS, SERVER_END)}
        )
        for host in hosts
    }


def test_the_server_is_down_and_says_why() -> None:
    facts = facts_of(after_the_kill())
    found = to_verify(facts)
    assert found is not None
    assert server_down(found, facts) == DOWN
    assert dead(found, facts) == []


def test_dockers_list_of_processes_has_the_last_word() -> None:
    hosts = after_the_kill()
    hosts[0].texts["containers"] = world.running("spark-2")
    facts = facts_of(hosts)
    found = to_verify(facts)
    assert found is not None
    assert ended(found, facts) is None


# Who names it


def test_status_says_that_it_ended_and_which_rank_died(cli: Cli) -> None:
    said = cli("status", "-i", INVENTORY, hosts=with_third(after_the_kill()))
    assert f"; the server in it {WHAT}" in said.out
    assert "does not answer yet" not in said.out
    assert "gives no metrics" not in said.out


def test_status_as_json(cli: Cli) -> None:
    said = cli("status", "--json", "-i", INVENTORY, hosts=with_third(after_the_kill()))
    containers = [each for row in said.lines[0]["hosts"] for each in row["containers"]]
    ends = {each["name"]: each["server_ended"] for each in containers}
    assert ends == {
        "vllm-head": {"exit_status": 0, "dead_ranks": [1], "what": WHAT},
        "vllm-worker": None,
    }


def test_status_of_one_that_has_not_begun_waits(cli: Cli) -> None:
    hosts = after_the_kill()
    hosts[0].texts["server-end"] = ""
    said = cli("status", "-i", INVENTORY, hosts=with_third(hosts))
    assert "/health does not answer yet on port 8000" in said.out


def absent(host: Spark) -> None:
    """Its RDMA devices are gone: a cause of no RDMA."""
    lines = host.texts["counters"].splitlines()
    kept = [line for line in lines if "/infiniband/" not in line]
    host.texts["counters"] = "\n".join(kept).replace("present-device", "missing-device") + "\n"


def test_verify_names_the_server_before_any_cause_of_no_rdma(cli: Cli) -> None:
    hosts = after_the_kill()
    for host in hosts:
        absent(host)
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    verdict = said.data["verdict"]
    assert said.code == 4
    assert (verdict["kind"], verdict["code"]) == ("unknown", "SERVE015")
    assert verdict["reasons"][0] == DOWN
    assert verdict["causes"] == ["RDMA001"]
    assert not any("/v1/completions" in script for script in hosts[0].scripts)


def test_verify_tells_the_servers_remedy(cli: Cli) -> None:
    said = cli("verify-rdma", "-i", INVENTORY, hosts=with_third(after_the_kill()))
    assert f"SERVE015 verdict unknown: {DOWN}" in said.out
    assert "next: `spark-cluster relaunch --evidence`" in said.out
    assert "modprobe" not in said.out


def test_a_server_that_does_not_answer_is_no_cause_of_no_rdma(cli: Cli) -> None:
    """Nothing is known of its end: it may be starting."""
    hosts = after_the_kill()
    hosts[0].texts |= {"server-end": "", "containers": world.running("spark-2")}
    hosts[0].on("/v1/completions", "\n@@http 000 0.0 s Connection refused.\n")
    for host in hosts:
        absent(host)
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    verdict = said.data["verdict"]
    assert (verdict["kind"], verdict["code"]) == ("unknown", "RDMA013")
    assert verdict["reasons"][0] == "The server gave no tokens: Connection refused."


def test_a_rank_that_dies_while_a_token_is_asked_for_is_named(cli: Cli) -> None:
    """On CUDA without Ray the request hangs for its whole limit, and /health goes on to answer."""
    hosts = pair(running=1)
    hosts[0].on("/v1/completions", "\n@@http 000 120.0 s Operation timed out\n")
    gone = {"containers": world.running("spark-3", state="exited", status=1), "gpu": GPU}
    hosts[1].at[2] = lambda: hosts[1].texts.update(gone)
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    verdict = said.data["verdict"]
    assert verdict["code"] == "RDMA016"
    assert "spark-3 (rank 1) is dead, while /health answers 200" in verdict["reasons"][0]


def test_a_lost_rank_is_seen_by_the_metrics_alone(cli: Cli) -> None:
    """/health takes longer than it may: nobody waits for a token that cannot come."""
    hosts = pair(running=0)
    hosts[1].texts["gpu"] = GPU
    probe = hosts[0].probe

    def slow(script: str) -> str:
        text = probe(script)
        return text.replace("http 200 0.01 s", "http 000 5.0 s Operation timed out", 1)

    hosts[0].on(world.MARK, slow)
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    assert said.data["verdict"]["code"] == "RDMA016"
    assert "while /metrics answers" in said.data["verdict"]["reasons"][0]
    assert not any("/v1/completions" in script for script in hosts[0].scripts)


def test_the_evidences_index_names_it(cli: Cli, tmp_path: Path) -> None:
    archive = str(tmp_path / "e.tar.gz")
    hosts = with_third(after_the_kill())
    for host in hosts:
        host.on("spark-cluster-evidence", packed({"docker/ps.txt": b"vllm-head\n"}))
    said = cli("evidence", "-o", archive, "--json", "-i", INVENTORY, hosts=hosts)
    assert f"spark-2: SERVE015 critical: {DOWN.removesuffix('.')}" in said.lines[-1]["wrong"]


def test_the_doctor_names_it(cli: Cli) -> None:
    said = cli("doctor", "-i", INVENTORY, hosts=with_third(after_the_kill()))
    assert said.code == 4
    assert "critical SERVE015" in said.out
    assert f"vllm-head on spark-2 {WHAT}" in " ".join(said.out.split())


# A launch that goes well has no end at any point


def stages() -> Iterator[tuple[str, str]]:
    """Docker's list of the head and its log, as a launch goes on."""
    log: list[str] = []
    for line in WELL[:14]:
        log.append(line)
        yield world.running("spark-2", serving=False), "\n".join(log)
    log.append(BEGINS)
    for line in itertools.islice(WELL, 14, None):
        log.append(line)
        yield world.running("spark-2"), "\n".join(log)


def test_a_launch_has_no_end_at_any_line() -> None:
    for containers, log in stages():
        readings: dict[str, Any] = {CONTAINERS.name: CONTAINERS.parse(containers)}
        readings[SERVER_END.name] = SERVER_END.parse(printed(log))
        facts = {"spark-2": Facts(readings)}
        found = to_verify(facts)
        assert found is not None
        assert server_down(found, facts) == ""

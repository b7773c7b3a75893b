"""`status`: rates from two readings, what is unknown, and a screen that outlives its hosts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from spark_cluster.actions import status as status_rows
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.status import StatusReport
from spark_cluster.cli.views import status as status_view
from spark_cluster.cli.views import status_screen
from spark_cluster.core.error import StateUnknown, Unreachable
from spark_cluster.facts.base import Facts
from spark_cluster.facts.cpu import CPU, CpuFact
from spark_cluster.facts.lock import LOCK, LockFact
from spark_cluster.facts.table import FACTS
from spark_cluster.runner.session import Session
from spark_cluster.terminal import printing as terminal
from tests.command_line import Cli

from . import world
from .world import INVENTORY, MARK, Spark, down, healthy, serving, sparks, stage

PAGE = """
@@http 200 0.001 s 
vllm:num_requests_running{engine="0"} 3.0
vllm:num_requests_waiting{engine="0"} 1.0
vllm:generation_tokens_total{engine="0"} TOKENS
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:time_to_first_token_seconds_sum{engine="0"} 10.0
vllm:time_to_first_token_seconds_count{engine="0"} 20.0

@@http 200 0.002 s 
"""  # noqa: W291

GPU_STATE = "state,2100, 3003, 31.20, 96, 61, 0x0000000000000000\n"


def page(tokens: int) -> str:
    return PAGE.replace("TOKENS", f"{tokens}.0")


def counters(host: str, *, seconds: float = 0.0, units: int = 0, **errors: int) -> str:
    """The host's counters so many seconds later, after so many units of four octets."""
    text = world.moved(healthy("counters", host), "rocep1s0f1", units)
    text = text.replace("rdma:uptime:86400.25", f"rdma:uptime:{86400.25 + seconds}")
    base = "/sys/class/infiniband/rocep1s0f1/ports/1"
    lines = [f"{base}/hw_counters/{name}:{value}" for name, value in errors.items()]
    return text + f"{base}/rate:200 Gb/sec (4X HDR)\n" + "\n".join(lines) + "\n"


def busy() -> dict[str, str]:
    """What spark-2 answers while it serves: 100 tokens and 2 MB each way in two seconds."""
    first = counters("spark-2", packet_seq_err=5)
    second = counters("spark-2", seconds=2.0, units=500_000, packet_seq_err=7)
    container = world.running("spark-2").replace("}\n", "}\nr 2\n", 1)
    return {
        "counters-first": first,
        "counters": second,
        "engine-first": page(1000),
        "engine": page(1100),
        "containers": container,
        "gpu-state": GPU_STATE,
        "clock": "epoch=1763698542.5\n",
        "cpu": "1.25 1.50 1.75 2/900 4242\n20\n",
        "lock": "/run/spark-cluster.lock launch by ada@laptop (pid 7) since 2026-11-21\n",
    }


def row(texts: dict[str, str], name: str = "spark-2") -> dict[str, Any]:
    given = {fact.name: healthy(fact.name, name) for fact in status_rows.TWICE} | texts
    facts = Facts({fact.name: fact.parse(given[fact.name]) for fact in status_rows.TWICE})
    found = status_rows.row(world.inventory().hosts[name], status_rows.before_of(facts), facts)
    return dict(found)


def test_a_host_that_serves() -> None:
    found = row(busy())
    rail = found["rails"][0]
    assert (rail["state"], rail["rate"]) == ("ACTIVE", "200 Gb/sec (4X HDR)")
    assert (rail["tx_per_second"], rail["rx_per_second"], rail["unit"]) == (1e6, 1e6, "B")
    assert (rail["errors"], rail["errors_grown"]) == ({"packet_seq_err": 7}, {"packet_seq_err": 2})
    assert found["endpoint"] == {
        "error": "",
        "running": 3.0,
        "waiting": 1.0,
        "tokens_per_second": 50.0,
        "prompt_tokens_per_second": None,
        "kv_cache_usage": 0.25,
        "ttft_seconds": 0.5,
    }
    assert (found["load"], found["cores"]) == ([1.25, 1.5, 1.75], 20)
    assert (found["gpu_utilization"], found["gpu_watts"], found["gpu_celsius"]) == (96, 31.2, 61)
    assert found["containers"][0]["restarts"] == 2
    assert found["lock"].startswith("launch by ada@laptop")
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("epoch", "uptime"),
    [("1795230942.5", 0.5), ("1795234542.0", 3600.0), ("1763698542.5", 0.0), ("", None)],
)
def test_a_containers_uptime_is_by_the_hosts_own_clock(epoch: str, uptime: float | None) -> None:
    texts = {"clock": f"epoch={epoch}\n", "containers": world.running("spark-2")}
    found = row(texts)["containers"][0]["uptime_seconds"]
    assert found == (None if uptime is None else pytest.approx(uptime, abs=0.11))


def test_what_was_not_read_twice_has_no_rate() -> None:
    found = row({"engine": page(7), "counters": counters("spark-2")})
    assert found["rails"][0]["tx_per_second"] is None
    assert found["endpoint"]["tokens_per_second"] is None
    assert found["endpoint"]["running"] == 3.0


def test_a_rail_without_its_device_is_absent() -> None:
    found = row({"counters": "rdma:uptime:10\nrdma:missing-device:rocep1s0f1\n"})
    assert [rail["state"] for rail in found["rails"]] == ["absent", "absent"]
    assert status_view.errors_text(found["rails"][0]) == "errors unknown"


def test_the_first_tokens_time_is_that_of_the_newest_requests() -> None:
    mean = status_rows._mean
    assert mean((10.0, 20.0), (16.0, 22.0)) == 3.0
    assert mean((10.0, 20.0), (10.0, 20.0)) == 0.5
    assert mean((None, None), (10.0, 20.0)) == 0.5
    assert mean((None, None), (0.0, 0.0)) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.10 0.20 0.30 1/234 5678\n20", CpuFact((0.1, 0.2, 0.3), 20)),
        ("0.10 0.20", CpuFact()),
        ("", CpuFact()),
    ],
)
def test_the_load(text: str, expected: CpuFact) -> None:
    assert CPU.parse(text) == expected


def test_the_load_of_this_machine() -> None:
    if not Path("/proc/loadavg").exists():
        pytest.skip("no /proc here")
    found = CPU.parse(_sh(CPU.script(_CONTEXT)))
    assert len(found.load) == 3
    assert found.cores == len(os.sched_getaffinity(0))


def test_the_lock_is_seen_without_taking_it(tmp_path: Path) -> None:
    if shutil.which("flock") is None:
        pytest.skip("flock(1) is not there")
    script = LOCK.script(_CONTEXT).replace("/run/spark-cluster", str(tmp_path / "spark-cluster"))
    lock = tmp_path / "spark-cluster.lock"
    Path(f"{lock}.holder").write_text("launch by ada\n")
    holding = subprocess.Popen(
        ["sh", "-c", f"exec 9>>{lock}; flock 9; echo $$ > {lock}.pid; echo; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holding.stdin is not None and holding.stdout is not None
    holding.stdout.readline()
    held = _sh(script).replace(str(tmp_path), "/run")
    assert LOCK.parse(held) == LockFact(run="launch by ada", last="launch by ada")
    holding.stdin.close()
    holding.wait(10)
    free = LOCK.parse(_sh(script).replace(str(tmp_path), "/run"))
    assert free == LockFact(last="launch by ada")


def _sh(script: str) -> str:
    return subprocess.run(
        ["sh"], input=script, capture_output=True, text=True, timeout=30, check=True
    ).stdout


_CONTEXT: Any = None  # these scripts depend on nothing


def test_the_new_facts_are_in_the_table() -> None:
    assert FACTS["cpu"] is CPU
    assert FACTS["lock"] is LOCK


# Words


def report(*rows: Any) -> StatusReport:
    return StatusReport(INVENTORY, rows, None)


def lines(texts: dict[str, str]) -> str:
    console = Console(width=200, soft_wrap=True)
    with console.capture() as said:
        shown = status_view.lines(report(row(texts)), verbose=False)
        terminal.Console(rich=console).show(shown)
    return said.get()


def test_the_words() -> None:
    said = lines(busy())
    for part in (
        "load 1.25 on 20 cores, up 1 day",
        "GPU 96 %, 31 W, 2100 of 3003 MHz, 61 °C",
        "rail enp1s0f1np1 (rocep1s0f1): ACTIVE, 200 Gb/sec (4X HDR), 977 KiB/s out, 977 KiB/s in, "
        "7 errors since boot, now packet_seq_err +2",
        "3 requests running, 1 waiting, 50.0 tokens/s, KV cache 25% full, first token after 0.50 s",
        "restarted 2 times; /health answers on port 8000",
        "in use: launch by ada@laptop",
    ):
        assert part in said


def test_ollama_has_no_health_and_no_metrics() -> None:
    answer = "\n@@http 200 0.001 s \n404 page not found\n@@http 404 0 s\n"
    texts = {"engine": answer, "containers": world.running("spark-2", recipe="ollama-qwen3-32b")}
    said = lines(texts)
    assert "/api/tags answers on port 11434" in said
    assert "the server gives no metrics: HTTP 404" in said


def test_a_server_that_nobody_could_ask() -> None:
    hung = "@@error docker ps gave no answer within 20 s\n" + world.running("spark-2")
    said = lines({**busy(), "containers": hung, "engine": ""})
    assert "/health was not asked on port 8000" in said
    assert "docker: docker ps gave no answer within 20 s" in said


# --watch


@contextmanager
def watched(hosts: list[Spark], monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """`status --watch` on these hosts; Ctrl-C is the session's own stop."""
    session = stage(hosts).session

    @contextmanager
    def looking(*_: object) -> Iterator[Session]:
        yield session

    monkeypatch.setattr(status_rows, "looking", looking)
    yield session
    session.close()


def test_watch_goes_on_when_a_host_dies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    hosts = sparks("spark-2", "spark-3")
    hosts[0].carries = 1000
    shown: list[list[str]] = []
    with watched(hosts, monkeypatch) as session:

        def on_refresh(screen: status_screen.Screen, report: StatusReport) -> None:
            kept(screen, report)
            shown.append([each["state"] for each in report.hosts])
            if len(shown) == 1:
                error = StateUnknown("the connection was lost", remedy="Run it again.")
                hosts[1].on(MARK, error)
                hosts[1].down = Unreachable("no route", remedy="Is it on?")
            if len(shown) == 3:
                session.stop.request()

        kept = status_screen.Screen.show
        monkeypatch.setattr(status_screen.Screen, "show", on_refresh)
        names = ["spark-2", "spark-3"]
        reports = status_rows.refreshes(world.inventory(), names, 0.0, Operator())
        code = status_screen.watch(reports, Path(INVENTORY), as_json=True)
    assert code == 3
    assert shown == [["up", "up"], ["up", "unknown"], ["up", "unknown"]]
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["host"] for row in told[2]["hosts"]] == ["spark-2", "spark-3"]
    assert told[2]["hosts"][1]["reason"] == "the connection was lost"


@pytest.mark.parametrize("as_json", [True, False])
def test_watch_ends_with_the_exit_code_of_its_last_refresh(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    hangs = report(row({"containers": "@@error docker ps gave no answer within 20 s\n"}))
    answers = report(row({}))
    away = report(status_rows.unknown("spark-2", "no route", ""))
    where = Path(INVENTORY)
    for last, code in ((hangs, 3), (answers, 0), (away, 3)):
        assert last.exit_code == code
        assert status_screen.watch(iter([away, last]), where, as_json=as_json) == code
    assert status_screen.watch(iter([]), where, as_json=as_json) == 0
    assert capsys.readouterr().out


def test_the_screen_draws_every_state() -> None:
    screen = status_screen.Screen(Path(INVENTORY))
    console = Console(width=200, force_terminal=False)

    def drawn() -> str:
        with console.capture() as said:
            console.print(screen.render())
        return said.get()

    assert "reading the hosts" in drawn()
    gone = status_rows.unknown("spark-3", "no route [to] host", "ping [it]")
    screen.show(report(row(busy()), gone))
    screen._read = time.monotonic() - 65
    said = drawn()
    for part in ("read 1 min ago", "no route [to] host", "977 KiB/s", "vllm-head", "50.0 tokens/s"):
        assert part in said
    assert "spark-3: no route [to] host\n  next: ping [it]\n" in re.sub(" +\n", "\n", said)
    screen.show(report(gone))
    assert "nothing of ours runs" not in drawn()
    assert "what runs on spark-3 is unknown" in drawn()
    idle = row({"containers": ""}, "spark-2")
    hangs = row({"containers": "@@error docker ps gave no answer within 20 s\n"}, "spark-1")
    screen.show(report(hangs, idle, gone))
    assert "nothing of ours runs on spark-2; what runs on spark-1, spark-3 is unknown\n" in drawn()
    screen.show(report(idle))
    assert "nothing of ours runs on spark-2\n" in re.sub(" +\n", "\n", drawn())


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_narrow_screen_cuts_neither_a_host_nor_its_state(width: int) -> None:
    screen = status_screen.Screen(Path(INVENTORY))
    reason = "spark-3 (192.168.1.13:22): no route to host"
    screen.show(report(row(busy()), status_rows.unknown("spark-3", reason, "")))
    console = Console(width=width, force_terminal=False)
    with console.capture() as said:
        console.print(screen.render())
    told = said.get()
    assert re.search(r"^spark-2 +up ", told, re.MULTILINE)
    assert re.search(r"^spark-3 +unknown", told, re.MULTILINE)
    assert f"\n{reason}\n" in told
    assert "…" not in told


# From the command line


def test_status_shows_what_runs_and_exits_0(cli: Cli) -> None:
    hosts = [Spark("spark-1"), serving("spark-2"), serving("spark-3")]
    answer = "\n@@http 200 0.001 s \n"
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
    assert "\n             next: Is it on?\n" in said.out
    rows = json.loads(cli("status", "--json", "-i", INVENTORY, hosts=[Spark("spark-1")]).out)
    assert [row["state"] for row in rows["hosts"]] == ["up", "unknown", "unknown"]
    assert all(row["remedy"] for row in rows["hosts"][1:])


def test_hosts_that_are_unknown_for_one_reason_share_the_next_step(cli: Cli) -> None:
    trust = down("spark-3")
    assert trust.down is not None
    trust.down.remedy = "spark-cluster trust spark-3"
    said = cli("status", "-i", INVENTORY, hosts=[down("spark-1"), down("spark-2"), trust])
    told = [" ".join(line.split()) for line in said.out.splitlines()[1:]]
    assert told == [
        "unknown spark-1: spark-1: no route to host",
        "unknown spark-2: spark-2: no route to host",
        "next: Is it on?",
        "unknown spark-3: spark-3: no route to host",
        "next: spark-cluster trust spark-3",
    ]

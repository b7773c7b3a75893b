"""`verify-rdma` in all its ways over fake hosts, and what `status` remembers of it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from spark_cluster.core.error import Unreachable
from spark_cluster.core.units import human_age
from tests.command_line import Cli, Said

from . import world
from .ranks import GPU, UNITS, Rank, pair, with_third
from .test_rdma_from_log import DATA as LOGS
from .world import INVENTORY, Spark, launching, serving, sparks

# What goes together


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--live", "--watch"], "--live and --watch do not go together"),
        (["--live", "--tokens", "3"], "--tokens and --live do not go together"),
        (["--interval", "3"], "--interval goes with --live or --watch only"),
        (["--watch", "--duration", "3"], "--duration goes with --probe only"),
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
    assert (
        "`docker logs --since \"$(docker inspect -f '{{.State.StartedAt}}' NAME)\" NAME" in said.err
    )


def test_a_log_that_is_not_there(cli: Cli) -> None:
    said = cli("verify-rdma", "--from-log", "nowhere.log", "--json")
    assert said.code == 2
    assert said.lines[0]["error"]["place"] == "nowhere.log"


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
    assert said.data["verdict"]["code"] == "RDMA016"
    assert "vllm-worker is exited, exit code 137" in said.data["verdict"]["reasons"][0]


def test_a_wedge_is_named(cli: Cli) -> None:
    """The request runs into its time limit, the counter stands still, the request still runs."""
    hosts = pair(running=1)
    hosts[0].on("/v1/completions", "\n@@http 000 120.0 s Operation timed out\n")
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    assert said.code == 4
    assert (said.data["verdict"]["kind"], said.data["verdict"]["code"]) == ("idle", "RDMA015")
    assert said.data["verdict"]["reasons"][:2] == [
        "The server gave no tokens: Operation timed out.",
        "No tokens in 120.0 s although 1 request is running, and RDMA carried nothing: generation "
        "is stuck.",
    ]


def test_tokens_of_others_are_counted_too(cli: Cli) -> None:
    """Someone else's requests make most of the traffic: it is not called too much."""
    hosts = pair(units=10 * UNITS, tokens=320)
    hosts[0].on("/v1/completions", world.tokens(32))
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    assert (said.data["verdict"]["kind"], said.data["verdict"]["tokens"]) == ("rdma", 320)


def test_our_request_refused_leaves_the_traffic_of_others(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)
    hosts[0].on("/v1/completions", '{"error":"Unauthorized"}\n@@http 401 0.1 s \n')
    said = cli("verify-rdma", "--json", "-i", INVENTORY, hosts=with_third(hosts))
    assert said.data["verdict"]["kind"] == "rdma"
    assert "HTTP 401: Unauthorized" in " ".join(said.data["verdict"]["reasons"])


LATER = "20261122-031500-9f3a"


def launched_later(host: Rank, name: str, group: str, run: str = LATER) -> Spark:
    """Another server, launched after that of `host`, with its head on `name`."""
    text = host.texts["containers"].replace('"spark-2,spark-3"', f'"{group}"')
    text = text.replace("qwen3-vl-235b", "another").replace(world.RUN, run)
    return Spark(name, {"containers": text})


def verifying(*ways: str) -> tuple[str, ...]:
    return ("verify-rdma", *ways, "-i", INVENTORY)


@pytest.mark.parametrize("way", [(), ("--live", "--interval", "0.5")])
def test_a_later_server_on_one_host_does_not_hide_the_group(cli: Cli, way: tuple[str, ...]) -> None:
    hosts = pair(units=UNITS, tokens=32)
    hosts[0].on("/v1/completions", world.tokens(32))
    both = [launched_later(hosts[0], "spark-1", "spark-1"), *hosts]
    said = cli(*verifying(*way), hosts=both)
    assert (said.code, "verdict: rdma" in said.out) == (0, True)
    assert "  not judged: another on spark-1 (one host: nothing to verify)\n" in said.out
    said = cli(*verifying(*way, "--json"), hosts=both)
    assert (said.code, said.data["verdict"]["kind"]) == (0, "rdma")
    assert said.data["served"]["hosts"] == ["spark-2", "spark-3"]
    assert [(each["recipe"], each["hosts"]) for each in said.data["not_judged"]] == [
        ("another", ["spark-1"])
    ]


def test_another_group_is_named_with_the_way_to_judge_it(cli: Cli) -> None:
    hosts = pair(units=UNITS, tokens=32)
    older = launched_later(hosts[0], "spark-1", "spark-1,spark-4", run="20261120-031500-9f3a")
    said = cli(*verifying("--live", "--interval", "0.5"), hosts=[older, *hosts])
    assert said.code == 0
    assert (
        "  not judged: another on spark-1, spark-4: "
        "spark-cluster verify-rdma --hosts spark-1,spark-4\n"
    ) in said.out


def test_alone_a_verdict_names_nothing_else(cli: Cli) -> None:
    hosts = with_third(pair(units=UNITS, tokens=32))
    said = cli(*verifying("--live", "--interval", "0.5"), hosts=hosts)
    assert (said.code, "not judged" in said.out) == (0, False)


def test_servers_on_one_host_each_have_nothing_to_verify(cli: Cli) -> None:
    host = Rank("spark-2")
    older = launched_later(host, "spark-1", "spark-1", run="20261120-031500-9f3a")
    host.texts["containers"] = host.texts["containers"].replace('"spark-2,spark-3"', '"spark-2"')
    said = cli(*verifying("--live", "--interval", "0.5"), hosts=[older, host])
    assert said.code == 2
    assert "qwen3-vl-235b runs on one host (spark-2), another on one host (spark-1)" in said.err
    assert "nothing travels between hosts" in said.err


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
            "container-access",
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
    assert (said.data["verdict"]["kind"], said.data["verdict"]["code"]) == ("socket", code)
    assert words in " ".join(said.data["verdict"]["reasons"])


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
    assert launch(cli, world.TOKEN_UNITS, "--json").data["verdict"]["kind"] == "rdma"


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


# The verdict, end to end


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

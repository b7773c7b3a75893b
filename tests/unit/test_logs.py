"""The logs of all ranks as one: parsing, the order, and the script by a real sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.core.error import InputError
from spark_cluster.core.shell import ASK_DOCKER
from spark_cluster.serving import logs
from spark_cluster.serving.logs import LogLine, Window
from spark_cluster.transport.protocol import Completed
from tests.command_line import Cli
from tests.fake_transport import failed

from .world import INVENTORY, Spark, down


def line(time: str, rank: int = 0, text: str = "x") -> LogLine:
    return LogLine(f"2026-11-21T03:15:{time}Z", rank, f"spark-{rank + 2}", "c", text)


def test_a_line_of_docker_s() -> None:
    raw = "@@log 1 vllm-worker 2026-11-21T03:15:00.123456789Z (Worker pid=7)  loading  x\r"
    assert logs.parse("spark-3", raw) == LogLine(
        "2026-11-21T03:15:00.123456789Z", 1, "spark-3", "vllm-worker", "(Worker pid=7)  loading  x"
    )


def test_an_empty_line_of_docker_s() -> None:
    found = logs.parse("spark-3", "@@log 0 vllm-head 2026-11-21T03:15:00Z")
    assert found is not None
    assert found.text == ""


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "@",
        "@@log x y",
        "@ 0 vllm-head 2026-11-21T03:15:00Z forged",
        "@@log 0 name Error response from daemon: no such container",
        "motd",
    ],
)
def test_what_is_no_line(raw: str) -> None:
    assert logs.parse("h", raw) is None


@given(st.text(max_size=200))
def test_any_text_is_a_line_or_none(raw: str) -> None:
    logs.parse("h", raw)


def test_ranks_are_merged_by_time() -> None:
    head = [line("01", text="a"), line("03", text="c")]
    worker = [line("02", 1, "b"), line("04", 1, "d")]
    assert [each.text for each in logs.merge([head, worker])] == list("abcd")


def test_followed_lines_are_put_in_order_within_the_window() -> None:
    window = Window()
    window.add(line("02", text="b"), 10.0)
    window.add(line("01", 1, "a"), 10.3)
    window.add(line("05", text="e"), 10.4)
    assert window.ripe(10.1) == []
    assert [each.text for each in window.ripe(10.5)] == ["a", "b"]
    assert [each.text for each in window.rest()] == ["e"]
    assert window.rest() == []


@pytest.mark.parametrize("value", ["10m", "1h30m", "2026-11-21", "2026-11-21T03:15:00Z"])
def test_times_that_docker_takes(value: str) -> None:
    assert logs.check_since(value) == value


@pytest.mark.parametrize("value", ["yesterday", "10", "", "1h; rm -rf /"])
def test_times_that_docker_would_not_take(value: str) -> None:
    with pytest.raises(InputError, match="is no time"):
        logs.check_since(value)


@pytest.mark.parametrize(
    ("ranks", "names"),
    [((), {"vllm-head", "side"}), ((1,), {"side"}), ((0, 1), {"vllm-head", "side"})],
)
def test_the_script_marks_every_line(
    tmp_path: Path, ranks: tuple[int, ...], names: set[str]
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        'ps) printf "aa\\nbb\\n" ;;\n'
        "image) echo null ;;\n"
        "inspect) for last; do :; done; case $* in *Image*) echo sha256:1d ;; *)\n"
        "  case $last in aa) n=vllm-head r=0 ;; *) n=side r=1 ;; esac\n"
        '  printf \'/%s {"spark-cluster.rank":"%s"}\\n\' $n $r ;; esac ;;\n'
        'logs) for last; do :; done; echo "2026-11-21T03:15:00Z of $last: $*" >&2 ;;\n'
        "esac\n"
    )
    docker.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-s"],
        input=logs.script(ranks, since="10m", tail=5, follow=True),
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        text=True,
        capture_output=True,
        check=True,
    )
    found = [logs.parse("h", raw) for raw in done.stdout.splitlines()]
    assert {each.container for each in found if each} == names
    assert all("--timestamps --since 10m --tail 5 --follow" in each.text for each in found if each)


@pytest.mark.parametrize(
    ("docker", "says"),
    [
        ('echo "permission denied" >&2; exit 1', "permission denied\n"),
        ("exec sleep 60", "docker ps gave no answer within 20 s\n"),
    ],
)
def test_a_docker_that_lists_nothing_is_no_empty_list(
    tmp_path: Path, docker: str, says: str
) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{docker}\n")
    (tmp_path / "docker").chmod(0o755)
    script = logs.script((), follow=True)
    assert ASK_DOCKER in script
    done = subprocess.run(
        ["/bin/sh", "-s"],
        input=script.replace(ASK_DOCKER, "timeout -k 1 0.3 docker"),
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        text=True,
        capture_output=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (1, says)


# The verb

LINE = "@@log 0 vllm-head 2026-11-21T03:15:00.5Z ready\n"


@pytest.mark.parametrize("follow", [(), ("-f",)], ids=["once", "follow"])
def test_a_docker_that_refuses_is_told(cli: Cli, follow: tuple[str, ...]) -> None:
    hosts = [
        Spark("spark-2").on("docker logs", LINE),
        Spark("spark-3").on("docker logs", failed(1, "permission denied\n")),
    ]
    said = cli("logs", *follow, "-i", INVENTORY, "--hosts", "spark-2,spark-3", hosts=hosts)
    assert said.code == 3
    assert "rank 0 spark-2 ready" in said.out
    assert "unknown: spark-3: docker says: permission denied\n  next: `spark-cl" in said.err


def test_hosts_that_are_away_are_told_with_what_to_do_next(cli: Cli) -> None:
    hosts = [down("spark-2"), down("spark-3")]
    said = cli("logs", "-i", INVENTORY, "--hosts", "spark-2,spark-3", hosts=hosts)
    assert (said.code, said.out) == (3, "")
    assert said.err.splitlines() == [
        "unknown: spark-2: spark-2: no route to host",
        "unknown: spark-3: spark-3: no route to host",
        "  next: Is it on?",
    ]


def test_logs_that_do_not_end_are_shown_as_far_as_they_came(cli: Cli) -> None:
    host = Spark("spark-2").on("docker logs", Completed(124, LINE, ""))
    said = cli("logs", "-i", INVENTORY, "--hosts", "spark-2", hosts=[host])
    assert said.code == 3
    assert "rank 0 spark-2 ready" in said.out
    assert "unknown: spark-2: docker did not give all its logs within 120 s" in said.err


@pytest.mark.parametrize("answer", ["", failed(1, "")])
def test_without_a_line_it_says_why(cli: Cli, answer: str | Completed) -> None:
    host = Spark("spark-2").on("docker logs", answer)
    said = cli("logs", "-i", INVENTORY, "--hosts", "spark-2", hosts=[host])
    if answer == "":
        assert (said.code, "no log line of ours" in said.err) == (0, True)
    else:
        assert (said.code, "no log line of ours" in said.err) == (3, False)
        assert "docker says: nothing, and ended with 1" in said.err

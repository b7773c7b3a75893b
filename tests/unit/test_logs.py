"""The logs of all ranks as one: parsing, the order, and the script by a real sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.core.error import InputError
from spark_cluster.serving import logs
from spark_cluster.serving.logs import LogLine, Window


def line(time: str, rank: int = 0, text: str = "x") -> LogLine:
    return LogLine(f"2026-11-21T03:15:{time}Z", rank, f"spark-{rank + 2}", "c", text)


def test_a_line_of_docker_s() -> None:
    raw = "@ 1 vllm-worker 2026-11-21T03:15:00.123456789Z (Worker pid=7)  loading  x\r"
    assert logs.parse("spark-3", raw) == LogLine(
        "2026-11-21T03:15:00.123456789Z", 1, "spark-3", "vllm-worker", "(Worker pid=7)  loading  x"
    )


def test_an_empty_line_of_docker_s() -> None:
    found = logs.parse("spark-3", "@ 0 vllm-head 2026-11-21T03:15:00Z")
    assert found is not None
    assert found.text == ""


@pytest.mark.parametrize(
    "raw", ["", "@", "@ x y", "@ 0 name Error response from daemon: no such container", "motd"]
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
        'ps) printf "vllm-head 0\\nside 1\\n" ;;\n'
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

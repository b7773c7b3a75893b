"""perftest's output, the scripts that run it, and what a measurement means."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.rdma import perftest
from spark_cluster.rdma.bandwidth import (
    Earlier,
    Row,
    amount,
    as_data,
    earlier,
    expectation,
    judge,
)

from . import world

DATA = world.DATA / "perftest"


def sample(name: str) -> perftest.Output:
    return perftest.parse((DATA / f"{name}.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "gbits"),
    [
        ("6.24-rxe", 0.088763),
        ("6.24-rxe-two-digits", 0.14),
        ("mlx5-cpu-frequency", 98.02),
        ("4.5-megabytes", 11178.91 * 2**20 * 8 / 1e9),
    ],
)
def test_the_average_in_gigabits(name: str, gbits: float) -> None:
    measured = sample(name).measured
    assert measured is not None
    assert measured.gbits == pytest.approx(gbits)


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("no-device", ("IB device rocep9s0f1 not found",
                       "Unable to find the Infiniband/RoCE device")),
        ("port-down", ("Port number 1 state is Down", "Couldn't set the link layer",
                       "Couldn't get context for the device")),
        ("no-route", ("Received 10 times ADDR_ERROR", "Unable to perform rdma_client function",
                      "Unable to init the socket connection")),
        ("no-memlock", ("Couldn't allocate MR", "failed to create mr", "Failed to create MR")),
        ("6.24-status-9", ("Completion with error at client",
                           "Failed status 9: the peer found the request invalid")),
    ],
)  # fmt: skip
def test_why_there_is_no_measurement(name: str, reasons: tuple[str, ...]) -> None:
    assert sample(name) == perftest.Output(reasons=reasons)


def test_an_end_before_the_first_row_is_no_measurement() -> None:
    text = (DATA / "6.24-rxe.txt").read_text(encoding="utf-8")
    assert perftest.parse(text.partition(" 65536 ")[0]) == perftest.Output()


@pytest.mark.parametrize("average", ["0.00", "nan", "-nan", "inf"])
def test_an_average_of_nothing_is_no_measurement(average: str) -> None:
    header = " #bytes #iterations BW peak[Gb/sec] BW average[Gb/sec] MsgRate[Mpps]"
    text = f"{header}\n 65536 0 0.00 {average} 0.0\n"
    assert perftest.parse(text).measured is None


@pytest.mark.parametrize(
    "line",
    [
        "stdbuf: failed to run command 'ib_write_bw': No such file or directory",
        "sh: 12: ib_write_bw: not found",
        "Couldn't connect to 192.168.100.10:18515",
        "Unable to open file descriptor for socket connection",
    ],
)
def test_other_faults_are_told(line: str) -> None:
    assert perftest.parse(f"-----\n{line}\n").reasons == (line,)


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    perftest.parse(text)
    perftest.sections(text, 2)
    perftest.ready(text)


# Scripts

LANES = (
    perftest.Lane("enp1s0f1np1", "rocep1s0f1", "rocep1s0f0", "192.168.100.10"),
    perftest.Lane("enP2p1s0f1np1", "roceP2p1s0f1", "roceP2p1s0f0", "192.168.101.10"),
)


def test_the_command_is_the_known_one() -> None:
    assert (
        "ib_write_bw -R --report_gbits -d rocep1s0f0 -q 4 -s 65536 -D 5 -p 18515 192.168.100.10 >"
        in perftest.client_script(LANES, (18515, 18516), 5)
    )
    server = perftest.server_script(LANES, 5)
    assert 'ib_write_bw -R --report_gbits -d "$2" -q 4 -s 65536 -D 5 -p $_port' in server
    assert "_start 0 rocep1s0f1\n_start 1 roceP2p1s0f1\n" in server
    assert "ulimit -l unlimited" in server


@pytest.mark.parametrize("shell", ["dash", "bash", "sh"])
def test_the_scripts_are_sound_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    scripts = (perftest.server_script(LANES, 5), perftest.client_script(LANES, (1, 2), 5))
    for script in scripts:
        subprocess.run([shell, "-n"], input=script.encode(), check=True, timeout=20)


def test_every_program_started_has_a_time_limit() -> None:
    for script in (perftest.server_script(LANES, 5), perftest.client_script(LANES, (1, 2), 5)):
        starts = [line for line in script.splitlines() if "ib_write_bw" in line]
        assert starts
        assert all(line.strip().startswith("timeout -k ") for line in starts)


def test_the_line_of_a_ready_server() -> None:
    assert perftest.ready("ready /tmp/x 18515 18516") == ("/tmp/x", (18515, 18516))
    for line in ("", "failed no free port", "ready /tmp/x", "ready /tmp/x port"):
        assert perftest.ready(line) is None


def test_the_output_of_each_client() -> None:
    row = (DATA / "6.24-rxe-two-digits.txt").read_text(encoding="utf-8")
    text = f"@@spark-cluster-test 0\n{row}\n@@spark-cluster-test 1\n Couldn't allocate MR\n"
    first, second, third = perftest.sections(text, 3)
    assert first.measured is not None
    assert second.reasons == ("Couldn't allocate MR",)
    assert third == perftest.Output()


# Judging

MLX5 = expectation("mlx5_core", 200.0)
RXE = expectation("rxe", 2.5)


def half(gbits: float | None, **options: object) -> Row:
    given: dict[str, object] = {"expected": MLX5, "rails": ("enp1s0f1np1",), **options}
    parts = () if gbits is None else (gbits,)
    return Row("spark-2", "spark-3", parts=parts, **given)  # type: ignore[arg-type]


def both(*gbits: float) -> Row:
    return Row("spark-2", "spark-3", ("enp1s0f1np1", "enP2p1s0f1np1"), gbits, MLX5)


@pytest.mark.parametrize(
    ("row", "state", "code"),
    [
        (half(111), "good", None),
        (half(85), "good", None),
        (half(84.9), "low", None),
        (half(42.5), "low", None),
        (half(42.4), "bad", "RDMA020"),
        (half(13), "bad", "RDMA020"),
        (half(None), "failed", "RDMA021"),
        (half(13, expected=None), "unknown", None),
        (both(106, 106), "good", None),
        (both(70, 70), "low", None),
        (both(55, 55), "bad", "RDMA022"),
        (half(0.09, expected=RXE), "good", None),
        (half(0.004, expected=RXE), "bad", "RDMA020"),
    ],
)
def test_the_state_of_a_measurement(row: Row, state: str, code: str | None) -> None:
    (judged,), findings = judge([row])
    assert judged.state == state
    assert [found.code for found in findings] == ([code] if code else [])
    assert all(found.code in DIAGNOSES for found in findings)


def test_a_slower_link_is_expected_to_deliver_less() -> None:
    slower = expectation("mlx5_core", 100.0)
    assert slower is not None and slower.half == 42.5
    assert expectation("mlx5_core", None) == MLX5
    assert expectation("siw", 10.0) is None


def soft(gbits: float, half: str, *, back: bool = False) -> Row:
    hosts = ("spark-3", "spark-2") if back else ("spark-2", "spark-3")
    return Row(*hosts, (half,), (gbits,), RXE, peer_rails=(half,))


def test_software_halves_must_be_alike() -> None:
    rows = [soft(0.5, "enp1s0f1np1"), soft(0.11, "enP2p1s0f1np1")]
    judged, (found,) = judge(rows)
    assert [row.state for row in judged] == ["good", "bad"]
    assert found.code == "RDMA020"
    assert "enP2p1s0f1np1: 0.11 Gb/s, far less than the other halves" in found.what
    assert judge([rows[0], soft(0.13, "enP2p1s0f1np1")])[1] == []


def test_a_software_half_counts_at_its_better_direction() -> None:
    rows = [soft(0.5, "enp1s0f1np1"), soft(0.11, "enP2p1s0f1np1"),
            soft(0.4, "enP2p1s0f1np1", back=True)]  # fmt: skip
    assert judge(rows)[1] == []


def test_a_finding_says_what_it_was() -> None:
    _, (found,) = judge([half(13, before=Earlier(111.2, "2026-11-20T03:15:00.000+00:00"))])
    assert found.what == (
        "spark-2 to spark-3 over enp1s0f1np1: was 111 Gb/s on 2026-11-20, is 13 Gb/s, "
        "at least 85 expected"
    )


def test_amounts_have_the_digits_that_mean_something() -> None:
    assert [amount(value) for value in (212.4, 111.2, 98.02, 12.94, 0.5512)] == [
        "212", "111", "98", "12.9", "0.551",
    ]  # fmt: skip


# Remembering


def journal(when: str, gbits: float, *, inventory: str = "/i.yaml", verb: str = "verify-rdma",
            rail: str = "enp1s0f1np1") -> str:  # fmt: skip
    rows, _ = judge([half(gbits, rails=(rail,))])
    entries = [
        {"kind": "run_started", "inventory": inventory},
        {"kind": "run_finished", "time": when, "verb": verb, "data": {"bandwidth": as_data(rows)}},
    ]
    return "\n".join(json.dumps(entry) for entry in entries) + "\n"


def test_the_newest_earlier_measurement_of_each_kind_counts() -> None:
    texts = [
        journal("2026-11-20T00:00:00Z", 100, rail="enP2p1s0f1np1"),
        journal("2026-11-19T00:00:00Z", 111),
        journal("2026-11-18T00:00:00Z", 90),
    ]
    found = earlier(texts, "/i.yaml", "verify-rdma")
    assert {key[2][0]: value.gbits for key, value in found.items()} == {
        "enp1s0f1np1": 111, "enP2p1s0f1np1": 100,
    }  # fmt: skip


def test_other_inventories_verbs_and_broken_journals_do_not_count() -> None:
    good = journal("2026-11-19T00:00:00Z", 111)
    texts = [
        journal("2026-11-20T00:00:00Z", 1, inventory="/other.yaml"),
        journal("2026-11-20T00:00:00Z", 2, verb="bootstrap"),
        good.replace('"rails"', '"rales"'),
        good.replace('"gbits": 111', '"gbits": null', 1),
        good[:-30],
        "",
        "not json\n[]\n",
    ]
    assert earlier(texts, "/i.yaml", "verify-rdma") == {}
    (value,) = earlier([*texts, good], "/i.yaml", "verify-rdma").values()
    assert value.gbits == 111


@given(st.lists(st.text(max_size=80), max_size=3))
def test_any_journal_is_read(texts: list[str]) -> None:
    assert earlier(texts, "/i.yaml", "verify-rdma") == {}

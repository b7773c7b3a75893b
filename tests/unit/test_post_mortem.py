"""`explain FILE…`: which rank failed first, why, and what followed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.rdma.nccl_events import KINDS
from spark_cluster.serving import post_mortem
from spark_cluster.serving.signs import signs, table
from tests.command_line import Cli, assert_told

from .nccl_formats import FORMATS, Rank, log

OOM = (
    "(Worker_TP1 pid=20) ERROR 09-14 10:12:{second:02d} [multiproc_executor.py:888] "
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
)
BROKEN = next(
    form.text for form in FORMATS if form.event == "completion" and form.until == "2.31.2"
)
NOISE = Rank(0).line("2.29.7", "WARN", BROKEN) + (
    "[rank0]: RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO)\n"
    "[rank0]: ncclRemoteError: A call failed possibly due to a network error\n"
)


@pytest.mark.parametrize("second", [10, 50])
def test_memory_of_one_rank_behind_nccls_noise_of_the_others(second: int) -> None:
    """Whatever the hosts' clocks say: a dead peer leaves the others such a transfer's error."""
    found = post_mortem.read(
        {
            "head.log": log("2.29.7", Rank(0), after=NOISE),
            "worker.log": log("2.29.7", Rank(1)) + OOM.format(second=second),
        }
    )
    assert found.first is not None
    assert (found.verdict, found.first.who) == ("failed", "rank 1 (worker.log)")
    assert found.first.reason == "out of GPU memory"
    (followed,) = found.followed
    assert followed.startswith("rank 0 (head.log): an RDMA transfer ended with status 13")


def test_the_noise_alone_is_told_as_what_it_is(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "rank0.log").write_text(log("2.29.7", Rank(0), after=NOISE))
    said = cli("explain", str(tmp_path / "rank0.log"))
    assert said.code == 4
    assert "tells first of a failure: an RDMA transfer ended with status 13" in said.out
    assert "See the other rank first" in said.out
    assert "rank 1 may say otherwise: give its log, too." in said.out


def test_of_two_causes_the_earlier_by_the_logs_times() -> None:
    texts = {
        "a": OOM.format(second=40),
        "b": OOM.format(second=12).replace("out of m", "error: out of m"),
    }
    found = post_mortem.read(texts)
    assert found.first is not None
    assert (found.first.name, found.first.timed) == ("b", True)


def test_a_rank_that_a_line_names_is_the_one_that_failed() -> None:
    """By its number; by its address, which its own log has."""
    died = "(MainProcess pid=6) ERROR [x.py:3] Worker proc VllmWorker-1 died unexpectedly\n"
    lost = "RuntimeError: [gloo/pair.cc:553] Connection closed by peer [10.77.1.2]:14554.\n"
    for line in (died, lost):
        texts = {"head.log": log("2.29.7", Rank(0)) + line, "other.log": log("2.29.7", Rank(1))}
        found = post_mortem.read(texts)
        assert found.first is not None
        assert (found.first.who, found.first.name) == ("rank 1 (other.log)", "head.log")


def test_too_many_files_and_the_warning_of_it() -> None:
    warning = "WARNING [x.py:1] fd limit errors like `OSError: [Errno 24] Too many open files`. x\n"
    ready = "INFO:     Application startup complete.\n"
    assert post_mortem.read({"a": warning + ready}).verdict == "healthy"
    found = post_mortem.read({"a": warning + ready + "OSError: [Errno 24] Too many open files\n"})
    assert found.first is not None
    assert "nofile" in found.first.reason


def test_a_variable_that_vllm_does_not_know_is_a_note_and_no_cause() -> None:
    line = "WARNING 09-14 Unknown vLLM environment variable detected: VLLM_NVFP4_GEMM_BACKEND\n"
    found = post_mortem.read({"rank0.log": line + "Starting to load model m\n" + line})
    assert found.verdict == "healthy"
    assert found.notes == (
        "rank 0 (rank0.log): this vLLM does not know the variable VLLM_NVFP4_GEMM_BACKEND and "
        "passes over it: what it asked for needs an argument of this release, or another image",
    )


@pytest.mark.parametrize("spelling", ["CustomAllreduce", "Custom allreduce"])
def test_sglang_stands_only_where_nothing_follows(spelling: str) -> None:
    line = f"[2026-08-27 09:00:23 TP0] {spelling} is disabled because this process group spans "
    line += "across nodes.\n"
    assert post_mortem.read({"a": line}).verdict == "standing"
    assert post_mortem.read({"a": line + "[x] Load weight begin. avail mem=1 GB\n"}).first is None
    vllm = "WARNING 08-27 [x.py] Custom allreduce is disabled because this process group spans"
    assert (
        post_mortem.read({"a": f"Initializing a V1 LLM engine\n{vllm} across nodes.\n"}).first
        is None
    )


def test_the_connection_that_is_still_tried_is_named() -> None:
    retry = next(form for form in FORMATS if form.event == "modify_qp retried last")
    line = Rank(0).line("2.29.7", "INFO", retry.text)
    found = post_mortem.read({"rank0.log": log("2.29.7", Rank(0), after=line)})
    assert found.first is not None
    assert (found.first.code, found.verdict) == ("RDMA030", "failed")
    assert "from 10.77.1.1 to 10.77.1.2" in found.first.reason


def test_every_reason_has_a_diagnosis_that_explain_knows() -> None:
    for sign in (*signs(), *table().standstills):
        assert sign.code in DIAGNOSES
        assert sign.remedy
    for kind in KINDS:
        assert bool(kind.code) == (kind.outcome in ("cause", "symptom", "consequence"))


# The command


def test_json_has_it_all(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "w.log").write_text("x\n" + OOM.format(second=1))
    said = cli("explain", str(tmp_path / "w.log"), "--json")
    found = json.loads(said.out)
    assert (said.code, found["kind"], found["verdict"]) == (4, "post_mortem", "failed")
    assert found["first"]["reason"] == "out of GPU memory"
    assert found["first"]["code"] == "SERVE007"
    assert (found["first"]["number"], found["first"]["grade"]) == (2, "cause")


def test_standard_input_and_a_healthy_log(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    text = log("2.29.7", Rank(0)).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    said = cli("explain", "-")
    assert said.code == 0
    assert "no failure in these logs, as far as they go" in said.out


def test_what_is_not_a_log_ends_with_2(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear all,\nnothing happened.\n")
    said = cli("explain", str(tmp_path / "letter.txt"))
    assert_told(said, "holds no line of an engine's or of NCCL's", "docker logs NAME")
    assert cli("explain", str(tmp_path / "nowhere.log")).code == 2


def test_what_a_log_says_to_a_terminal_is_not_passed_on(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "w.log").write_text("vllm: error: \x1b]0;owned\x07 \x1b[2J--x \x9b31m\n")
    said = cli("explain", str(tmp_path / "w.log"))
    assert said.code == 4
    assert said.out.isprintable() or not set(said.out) & {"\x1b", "\x07", "\x9b"}

"""`bench` against a real HTTP server of our own, which also misbehaves."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.bench import files
from spark_cluster.cli import app
from spark_cluster.core.error import StepFailed
from tests.unit import world

from .bench_cli import Bench, Start
from .bench_server import MODEL, BenchServer
from .sshd_server import eventually

pytestmark = [pytest.mark.contract, pytest.mark.long]
RECORDED = Path(world.__file__).parent / "data/bench/vllm-bench-0.32.json"


def sweep(server: BenchServer, *more: str) -> list[str]:
    short = ["--input-tokens", "24", "--output-tokens", "8"]
    return ["sweep", "--endpoint", server.url, "--levels", "3", *short, *more]


# What is measured


def test_a_sweep_counts_every_request_and_every_token(bench: Bench, start: Start) -> None:
    server = start()
    said = bench("sweep", "--endpoint", f"{server.url}/v1", "--levels", "1,4", "--requests", "12",
                 "--input-tokens", "24", "--output-tokens", "8")  # fmt: skip
    assert said.code == 0, said.err
    one, four = said.result.levels
    assert (one.name, one.concurrency, four.name, four.concurrency) == ("c=1", 1, "c=4", 4)
    for level in (one, four):
        assert (level.summary.ok, level.summary.failed, len(level.requests)) == (12, 0, 12)
        assert {request.prompt_tokens for request in level.requests} == {24}
        assert {request.output_tokens for request in level.requests} == {8}
        assert {len(request.gaps) for request in level.requests} == {7}
        assert level.summary.output_tokens == 96
        rate = level.summary.output_tokens / level.seconds
        assert level.summary.output_per_second == pytest.approx(rate, rel=1e-3)
        assert not level.notes
    assert server.most_at_once == 4
    # A warm-up before each level: one request and four, not in the figures.
    assert len(server.asked) == 24 + 1 + 4
    assert said.result.server.model == MODEL
    assert said.result.prompts == "tokens counted by the server's /tokenize"
    assert said.result.arguments["salt"] == said.result.run
    assert "RDMA counters and power were not read" in said.out
    assert "c=4" in said.out


def test_its_times_are_those_of_the_server(bench: Bench, start: Start) -> None:
    """The client must see each token after it was written, and not much after."""
    server = start(first=0.05, gap=0.02)
    said = bench(*sweep(server, "--requests", "12", "--warm-up", "0", "--levels", "2"))
    (level,) = said.result.levels
    late = []
    # By number of a request: the server sees them in the order in which they are begun.
    for mine, theirs in zip(level.requests, server.asked, strict=True):
        assert mine.ttft is not None
        assert mine.latency is not None
        first, last = (
            moment - theirs.received for moment in (theirs.written[0], theirs.written[-1])
        )
        assert mine.ttft > first - 0.01
        assert mine.latency > last - 0.01
        late += [mine.ttft - first, mine.latency - last]
        span = theirs.written[-1] - theirs.written[0]
        assert sum(mine.gaps) == pytest.approx(span, abs=0.25)
    assert statistics.median(late) < 0.1


def test_the_same_seed_and_salt_send_the_same_prompts(bench: Bench, start: Start) -> None:
    prompts = []
    for salt in ("a", "a", "b"):
        server = start()
        assert bench(*sweep(server, "--salt", salt)).code == 0
        prompts.append(sorted(served.body["prompt"] for served in server.asked))
    assert prompts[0] == prompts[1]
    assert set(prompts[0]).isdisjoint(prompts[2])
    assert len(set(prompts[0])) == len(prompts[0])


def test_seconds_end_a_level_and_what_is_under_way_is_finished(bench: Bench, start: Start) -> None:
    server = start()
    said = bench(*sweep(server, "--seconds", "0.5"))
    (level,) = said.result.levels
    assert level.seconds >= 0.5
    assert level.summary.ok == len(level.requests) >= 3
    assert max(request.start for request in level.requests) < 0.5
    assert {request.output_tokens for request in level.requests} == {8}


def test_several_tokens_a_chunk(bench: Bench, start: Start) -> None:
    said = bench(*sweep(start(per_chunk=4)))
    (level,) = said.result.levels
    assert {request.output_tokens for request in level.requests} == {8}
    assert {len(request.gaps) for request in level.requests} == {1}
    assert "4.0 tokens a chunk" in said.out


def test_prefill_asks_for_one_token_and_leaves_out_what_does_not_fit(
    bench: Bench, start: Start
) -> None:
    server = start(context=2048)
    said = bench("prefill", "--endpoint", server.url, "--lengths", "256,1K,2K")
    assert said.code == 0
    assert [level.name for level in said.result.levels] == ["256 tokens", "1024 tokens"]
    assert "2048 tokens left out" in said.out
    assert {served.body["max_tokens"] for served in server.asked} == {1}
    for level in said.result.levels:
        assert {request.prompt_tokens for request in level.requests} == {level.value}
        assert level.summary.prefill_per_second is not None
        ttft = level.requests[0].ttft
        assert ttft is not None
        fastest = level.value / min(request.ttft or 1.0 for request in level.requests)
        assert level.summary.prefill_per_second.p50 <= fastest


def test_images_are_sent_as_data_urls_and_never_twice(bench: Bench, start: Start) -> None:
    server = start()
    said = bench("image", "--endpoint", server.url, "--resolutions", "32,64", "--concurrency", "2",
                 "--output-tokens", "4")  # fmt: skip
    assert said.code == 0
    assert [level.name for level in said.result.levels] == ["32x32", "64x64"]
    urls = [s.body["messages"][0]["content"][0]["image_url"]["url"] for s in server.asked]
    assert len(set(urls)) == len(urls) == 2 * (8 + 2)
    assert {served.path for served in server.asked} == {"/v1/chat/completions"}
    for level in said.result.levels:
        # The chunk that opens a chat is no token.
        assert {(r.output_tokens, len(r.gaps)) for r in level.requests} == {(4, 3)}


def test_json_is_an_object_a_line(bench: Bench, start: Start) -> None:
    said = bench(*sweep(start(), "--json"))
    begun, level, end = said.lines
    assert (begun["kind"], begun["levels"]) == ("bench_started", ["c=3"])
    assert (level["kind"], level["summary"]["ok"]) == ("level", 12)
    assert "requests" not in level
    assert (end["kind"], end["exit_code"]) == ("bench_finished", 0)
    assert Path(end["file"]).exists()


# What goes wrong


def test_refused_requests_are_counted_and_named(bench: Bench, start: Start) -> None:
    said = bench(*sweep(start(refuse_every=4), "--requests", "16", "--warm-up", "0"))
    assert said.code == 1
    (level,) = said.result.levels
    assert (level.summary.ok, level.summary.failed, level.unsent) == (12, 4, 0)
    assert level.summary.errors == {"HTTP 429: too many requests": 4}
    assert "4 failed: HTTP 429: too many requests" in said.out
    assert "next: " in said.out


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ({"stalls": 0}, "stalled: no token within 0.3 s"),
        ({"stalls": 5}, "stalled: no token within 0.3 s"),
        ({"breaks": 5}, "the connection broke off"),
        ({"error": 5}, "the stream broke off: EngineCore died"),
        ({"early": 0}, "no token came"),
    ],
)
def test_a_server_that_fails_every_request_ends_the_run(
    bench: Bench, start: Start, behaviour: dict[str, Any], error: str
) -> None:
    server = start(**behaviour)
    said = bench(*sweep(server, "--levels", "3,4", "--stall", "0.3", "--warm-up", "0"))
    assert said.code == 1
    (level,) = said.result.levels  # the second level was not begun
    assert "note: not run: c=4" in said.out
    assert "not run: c=4" in said.result.notes
    assert not said.result.interrupted
    assert level.summary.errors == {error: level.summary.failed}
    assert level.summary.ok == 0
    assert level.summary.failed + level.unsent == 12
    assert level.unsent > 0
    assert "requests were not sent" in said.out
    tokens = behaviour.get("stalls", behaviour.get("breaks", behaviour.get("error", 0)))
    assert {request.output_tokens for request in level.requests} <= {0, tokens}


def test_answers_that_end_early_are_noted(bench: Bench, start: Start) -> None:
    said = bench(*sweep(start(early=5)))
    assert said.code == 0
    assert "12 of 12 answers ended before 8 tokens" in said.out


def test_a_server_without_tokenizer_is_approximated_and_said_so(bench: Bench, start: Start) -> None:
    said = bench(*sweep(start(tokenizer=False)))
    assert said.code == 0
    assert "the prompts' lengths are approximate: estimated: 200 words were 200" in said.out
    assert {request.prompt_tokens for request in said.result.levels[0].requests} == {24}


def test_a_server_without_usage_is_counted_in_chunks(bench: Bench, start: Start) -> None:
    said = bench(*sweep(start(usage=False, tokenizer=False)))
    assert said.code == 0
    assert "the server gave no usage" in said.out
    assert "one token a word is assumed" in said.out
    assert {request.output_tokens for request in said.result.levels[0].requests} == {8}


@pytest.mark.parametrize(
    ("arguments", "code", "says", "remedy"),
    [
        (["--endpoint", "http://127.0.0.1:1"], 3, "connection refused", "spark-cluster status"),
        (["--endpoint", "ftp://x"], 2, "not the address of an API", "http://HOST:PORT"),
        (["--endpoint", "http://u:p@x"], 2, "not the address", "--api-key-env"),
        (["--endpoint", "http://x", "qwen"], 2, "do not go together", "needs none"),
        (["--endpoint", "http://x", "--vllm"], 2, "--endpoint knows none", "bench compare"),
        (["--levels", "0"], 2, "'0' is no number", "1,64,256"),
        (["--levels", ","], 2, "is empty", "one number"),
        (["--requests", "2", "--seconds", "3"], 2, "do not go together", "one of them"),
        (["--vllm", "--seconds", "3"], 2, "counts requests", "--requests"),
        (["--api-key-env", "NO_SUCH", "--endpoint", "http://x"], 2, "is not set", "export"),
    ],
)
def test_what_a_user_gets_wrong(
    bench: Bench, arguments: list[str], code: int, says: str, remedy: str
) -> None:
    said = bench("sweep", *arguments)
    assert said.code == code
    assert says in said.err
    assert remedy in said.err.partition("next: ")[2]
    assert said.run is None


def test_a_server_that_wants_a_key(
    bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(key="hunter2")
    said = bench(*sweep(server))
    assert said.code == 4
    assert "HTTP 401" in said.err
    assert "--api-key-env" in said.err
    monkeypatch.setenv("THE_KEY", "hunter2")
    said = bench(*sweep(server, "--api-key-env", "THE_KEY"))
    assert said.code == 0
    assert "hunter2" not in said.out + files.as_text(said.result)


def test_a_model_that_is_not_served(bench: Bench, start: Start) -> None:
    said = bench(*sweep(start(), "--model", "other"))
    assert (said.code, "It serves served." in said.err) == (2, True)


def test_no_level_fits(bench: Bench, start: Start) -> None:
    said = bench(*sweep(start(context=16)))
    assert said.code == 2
    assert "no level fits: c=3 left out" in said.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_keeps_the_levels_that_are_over(
    tmp_path: Path, start: Start, number: signal.Signals
) -> None:
    server = start()
    reset = (  # they may be ignored here
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
    )
    code = reset + "import sys; from spark_cluster.cli.app import main; main()"
    arguments = ["bench", *sweep(server, "--levels", "1,2", "--warm-up", "0", "--json")]
    running = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        text=True,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(Path(app.__file__).parents[2])},
    )
    assert running.stdout is not None
    assert json.loads(running.stdout.readline())["kind"] == "bench_started"
    assert json.loads(running.stdout.readline())["name"] == "c=1"
    asked = len(server.asked)
    server.does.stalls = 1
    eventually(lambda: len(server.asked) > asked)
    # A killed process would leave this.
    (path,) = (tmp_path / "benchmark_results").iterdir()
    assert files.load(path).notes[-1] == "not run: c=2"
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, out + err
    assert list((tmp_path / "benchmark_results").iterdir()) == [path]
    found = files.load(path)
    assert found.interrupted
    assert [level.name for level in found.levels][:1] == ["c=1"]


def test_a_disk_that_is_full_for_a_while_loses_no_level(
    bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, fails = files.save, iter([True])

    def full(*arguments: Any) -> Path:
        if next(fails, False):
            raise StepFailed("no room in the folder", remedy="Make room.")
        return save(*arguments)

    monkeypatch.setattr(files, "save", full)
    said = bench(*sweep(start(), "--levels", "1,2", "--warm-up", "0"))
    assert said.code == 0
    assert "note: no room in the folder" in said.out
    assert [level.name for level in said.result.levels] == ["c=1", "c=2"]


# Afterwards


def test_a_report_of_what_was_measured(bench: Bench, start: Start) -> None:
    pytest.importorskip("matplotlib")
    paths: list[str] = []
    for gap in (0.002, 0.02):
        assert bench(*sweep(start(gap=gap), "--requests", "24")).code == 0
        # Two runs within a second differ in a random part of their names: no order of theirs.
        paths += {str(path) for path in Path("benchmark_results").glob("*.json")} - {*paths}
    said = bench("report", *paths, "--output", "r.md")
    assert said.code == 0
    assert said.out == "wrote r.md\nwrote r-sweep.svg\n"
    text = Path("r.md").read_text()
    assert "![sweep](r-sweep.svg)" in text
    assert "| c=3 | TPOT p50 s |" in text  # two runs of a kind are compared
    assert "| worse |" in text
    said = bench("compare", *paths, "--json")
    assert said.code == 0
    (found,) = [row for row in said.lines[0]["rows"] if row["figure"] == "TPOT p50"]
    assert (found["verdict"], found["ratio"] > 2) == ("worse", True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compare", "a.json", "b.json"], "a.json: cannot be read: No such file"),
        (["report", "a.json"], "a.json: cannot be read: No such file"),
        (["report", str(RECORDED), "--format", "gif"], "--format gif: not known"),
    ],
)
def test_what_a_user_gets_wrong_afterwards(bench: Bench, arguments: list[str], says: str) -> None:
    said = bench(*arguments)
    assert (said.code, says in said.err) == (2, True)

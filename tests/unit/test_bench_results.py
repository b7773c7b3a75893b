"""Results: to a file and back, side by side, as a report, as plots; files that are none."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spark_cluster.bench import files, plots, report, stats, tables, vllm_serve
from spark_cluster.bench.compare import compare
from spark_cluster.bench.notes import level_notes
from spark_cluster.bench.plan import Settings, Step, steps
from spark_cluster.bench.results import HostFigures, Kind, Level, Rail, Request, Run, Server
from spark_cluster.core.error import InputError, StepFailed

from .cases import refused, write

RECORDED = Path(__file__).parent / "data/bench/vllm-bench-0.32.json"


def request(number: int, *, slow: float = 1.0, error: str = "") -> Request:
    """One of many: a little different from the others, in the same way each time."""
    more = 1 + 0.02 * ((number * 7) % 5)
    gaps = tuple(round(0.1 * slow * more, 6) for _ in range(9))
    return Request(
        start=round(number * 1.1, 6),
        ttft=round(0.2 * slow * more, 6),
        latency=round(0.2 * slow * more + sum(gaps), 6),
        prompt_tokens=100,
        output_tokens=10,
        gaps=gaps,
        error=error,
    )


def level(value: int, requests: Sequence[Request], **more: Any) -> Level:
    seconds = sum(item.latency or 0.0 for item in requests)
    fields = {"name": f"c={value}", "concurrency": 1, **more}
    return Level(
        value=value,
        seconds=seconds,
        requests=tuple(requests),
        summary=stats.summarise(requests, seconds),
        **fields,
    )


def run(
    *levels: Level, kind: Kind = "sweep", name: str = "20261121-031500-9f3a", **more: Any
) -> Run:
    fields: dict[str, Any] = {
        "arguments": {"levels": [entry.value for entry in levels], "input_tokens": 100},
        "server": Server(endpoint="http://h:8000", model="m", owned_by="vllm", version="0.11.0"),
        **more,
    }
    return Run(
        program="spark-cluster 1",
        kind=kind,
        run=name,
        started="2026-11-21T03:15:00+00:00",
        ended="2026-11-21T03:25:00+00:00",
        levels=levels,
        **fields,
    )


def usual(slow: float = 1.0, **more: Any) -> Run:
    return run(level(1, [request(number, slow=slow) for number in range(20)]), **more)


# Files


def test_a_run_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    hosts = (HostFigures(host="spark-2", rank=0, rails=(Rail(device="rocep1s0f1", tx=5),)),)
    failed = Request(start=3.0, error='HTTP 429: "busy", \\ 503')
    one = run(level(1, [request(0), failed], hosts=hosts), level(2, []), notes=("ä",))
    path = files.save(one, tmp_path / "deep" / "results")
    assert path == tmp_path / "deep/results/20261121-031500-9f3a-sweep.json"
    assert files.load(path) == one
    assert list(path.parent.iterdir()) == [path]
    # A request a line: a person can count them.
    assert len(re.findall(r'^\{"start":', path.read_text(), re.MULTILINE)) == 2


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(StepFailed, match="could not be written") as caught:
        files.save(usual(), tmp_path / "file" / "results")
    assert "--output" in caught.value.remedy


def test_a_folder_is_proven_and_left_as_it_was(tmp_path: Path) -> None:
    files.prove(tmp_path / "deep" / "results")
    files.prove(tmp_path)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "file", "")
    with pytest.raises(StepFailed, match="could not be written") as caught:
        files.prove(tmp_path / "file" / "results")
    assert "nothing was measured yet" in caught.value.remedy


def test_what_cannot_be_written_leaves_the_levels_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.save(usual(), tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StepFailed, match="No space left") as caught:
        files.save(usual(), tmp_path)
    assert "the levels before are there" in caught.value.remedy
    assert files.load(path) == usual()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "neither a result"),
        ('{"a": 1}', "neither a result"),
        ('{"schema_version": 99}', "schema_version: 99, this program knows 1"),
        ('{"schema_version": 1}', "program: Field required"),
    ],
)
def test_a_file_that_is_no_result_is_told_with_its_name(
    tmp_path: Path, text: str, says: str
) -> None:
    path = write(tmp_path / "x.json", text)
    error = refused(lambda: files.load(path))
    assert says in error.message
    assert error.place == str(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in refused(lambda: files.load(tmp_path / "no.json")).message
    assert "cannot be read" in refused(lambda: files.load(tmp_path)).message


# `vllm bench serve`


def test_its_results_are_read_with_every_request() -> None:
    data = json.loads(RECORDED.read_text())
    found = files.load(RECORDED)
    (only,) = found.levels
    assert (found.tool, found.kind) == ("vllm bench serve", "sweep")
    assert (only.name, only.concurrency, len(only.requests)) == ("c=2", 2, 8)
    assert (found.arguments["input_tokens"], found.arguments["output_tokens"]) == (64, 32)
    summary = only.summary
    assert summary.output_per_second == pytest.approx(data["output_throughput"])
    assert summary.requests_per_second == pytest.approx(data["request_throughput"])
    # Worked out from the requests by our own definitions: vLLM's say the same.
    for ours, theirs in (
        (summary.ttft, "ttft"),
        (summary.tpot, "tpot"),
        (summary.itl, "itl"),
        (summary.latency, "e2el"),
    ):
        assert ours is not None
        for share in (50, 95, 99):
            value = getattr(ours, f"p{share}") * 1000
            assert value == pytest.approx(data[f"p{share}_{theirs}_ms"], abs=0.01)
        assert ours.mean * 1000 == pytest.approx(data[f"mean_{theirs}_ms"], abs=0.01)


def test_older_versions_write_no_latencies_and_no_starts() -> None:
    data = json.loads(RECORDED.read_text())
    whole = vllm_serve.as_level(data)
    older = vllm_serve.as_level({k: v for k, v in data.items() if k[:5] not in ("laten", "start")})
    for one, other in zip(whole.requests, older.requests, strict=True):
        assert other.latency == pytest.approx(one.latency, abs=1e-5)
        assert other.start == 0.0


def test_without_save_detailed_its_own_percentiles_are_taken() -> None:
    data = json.loads(RECORDED.read_text())
    bare = {key: value for key, value in data.items() if not isinstance(value, list)}
    found = vllm_serve.as_level(bare)
    assert found.requests == ()
    assert found.summary.ok == 8
    assert found.summary.latency is not None
    assert found.summary.latency.p95 == pytest.approx(data["p95_e2el_ms"] / 1000)
    (row, *_) = compare(run(found), run(vllm_serve.as_level(data))).rows
    assert (row.ratio, row.low, row.verdict) == (1.0, None, "unknown")


def detailed(completed: int, *rows: tuple[float, int, str]) -> dict[str, Any]:
    """A result; of each request its TTFT, its tokens, its error."""
    ttfts, lengths, errors = (list(column) for column in zip(*rows, strict=True))
    return {
        "completed": completed,
        "failed": len(rows) - completed,
        "duration": 2.0,
        "total_output_tokens": sum(lengths),
        "ttfts": ttfts,
        "itls": [[] for _ in rows],
        "input_lens": [8] * len(rows),
        "output_lens": lengths,
        "errors": errors,
    }


@pytest.mark.parametrize(
    ("completed", "rows", "ok", "errors", "notes"),
    [
        (0, [(0.0, 0, ""), (0.0, 0, "")], 0, {"failed, no reason given": 2}, 0),
        (1, [(0.1, 4, ""), (0.0, 0, "Forbidden")], 1, {"Forbidden": 1}, 0),
        # Broken off after its first token: only the count of the completed shows it.
        (1, [(0.1, 4, ""), (0.1, 0, "")], 1, {"failed, no reason given": 1}, 0),
        (2, [(0.1, 4, ""), (0.1, 0, "")], 2, {}, 0),
        (1, [(0.1, 4, ""), (0.1, 4, "")], 2, {}, 1),
    ],
)
def test_a_failure_without_a_reason_is_no_success(
    completed: int,
    rows: list[tuple[float, int, str]],
    ok: int,
    errors: dict[str, int],
    notes: int,
) -> None:
    found = vllm_serve.as_level(detailed(completed, *rows))
    assert (found.summary.ok, found.summary.errors) == (ok, errors)
    assert len(found.notes) == notes
    assert all("completed, its list of them shows" in note for note in found.notes)
    if not ok:
        assert found.summary.ttft is None


def test_the_benchmark_in_the_container_sends_the_containers_key(tmp_path: Path) -> None:
    """Its script, played by a shell; docker and vllm are stand-ins."""
    write(tmp_path / "docker", '#!/bin/sh\nshift 2\nexec "$@"\n').chmod(0o755)
    said = tmp_path / "said"
    vllm = f'#!/bin/sh\necho "$3 ${{OPENAI_API_KEY-unset}}" >>{said}\n'
    write(tmp_path / "vllm", vllm).chmod(0o755)
    chosen = Settings("sweep", (1,), input_tokens=16, output_tokens=8, salt="s")
    script = vllm_serve.script("head", 8000, Server(endpoint="", model="m"), chosen,
                               steps(chosen), scratch=str(tmp_path / "scratch"))  # fmt: skip
    path = f"{tmp_path}:{os.environ['PATH']}"
    for key in ({"VLLM_API_KEY": "sk-$1 'x"}, {}):
        subprocess.run(["sh", "-c", script], env={"PATH": path, **key}, timeout=60,
                       capture_output=True)  # fmt: skip
    runs = [line for line in said.read_text().splitlines() if line.startswith("--backend")]
    assert runs == ["--backend sk-$1 'x", "--backend unset"]
    assert "sk-" not in script


FIELDS = ("completed", "duration", "total_output_tokens", "ttfts", "itls", "input_lens", "errors")
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**6)
    | st.sampled_from([10**400, 1e308])
    | st.floats()
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "output_lens", "start_times"]), ANYTHING))
@example({"completed": 10**400, "duration": 1, "total_output_tokens": 1})
@example(
    {"completed": 1, "duration": 1, "total_output_tokens": 1}
    | {"ttfts": [1], "itls": [[1e308, 1e308]], "input_lens": [1], "output_lens": [1]}
)
def test_no_json_under_its_names_breaks_the_reader(data: dict[str, Any]) -> None:
    if vllm_serve.is_result(data):
        assert vllm_serve.as_run(data, "x").levels[0].summary.ok >= 0


# Side by side


def verdicts(a: Run, b: Run) -> dict[str, str]:
    return {row.figure: row.verdict for row in compare(a, b).rows}


def test_a_run_against_itself_is_noise() -> None:
    found = compare(usual(), usual())
    assert {row.verdict for row in found.rows} == {"within noise"}
    assert {row.ratio for row in found.rows} == {1.0}
    assert found.notes == ()


def test_faster_is_better_and_slower_is_worse() -> None:
    assert set(verdicts(usual(), usual(0.8)).values()) == {"better"}
    assert set(verdicts(usual(0.8), usual()).values()) == {"worse"}
    row = compare(usual(), usual(0.8)).rows[0]
    assert (row.figure, row.unit) == ("output", "tok/s")
    assert row.ratio == pytest.approx(1.25)
    assert row.low is not None
    assert row.high is not None
    assert 1.2 < row.low < 1.25 < row.high < 1.3


def test_fewer_than_four_waves_give_no_verdict() -> None:
    few = run(level(8, [request(number) for number in range(24)], concurrency=8))
    assert set(verdicts(few, few).values()) == {"too few"}


def test_the_tail_of_few_requests_gives_no_verdict() -> None:
    few = run(level(1, [request(number) for number in range(12)]))
    found = verdicts(few, few)
    assert {name for name, verdict in found.items() if verdict == "too few"} == {
        "TTFT p95", "latency p95",
    }  # fmt: skip
    assert found["latency p50"] == "within noise"


def deployed(profile: str = "", options: str = "", **more: Any) -> Run:
    labels = {"spark-cluster.profile": profile, "spark-cluster.options": options}
    chosen = {name: value for name, value in labels.items() if value}
    fields = {"recipe": "one", "hosts": ["spark-2", "spark-3"], "labels": chosen, **more}
    return usual(deployment=fields, recipe={"image": f"vllm:{len(chosen)}"})


def test_another_launch_of_the_same_recipe_is_said() -> None:
    b = deployed("long", "pp,dual-rail", hosts=["spark-2", "spark-4"])
    assert compare(deployed(), b).notes == (
        "differs: profile: none in A, long in B",
        "differs: options: none in A, pp,dual-rail in B",
        "differs: hosts: spark-2, spark-3 in A, spark-2, spark-4 in B",
        "differs: image: vllm:0 in A, vllm:2 in B",
    )
    assert compare(b, b).notes == compare(usual(), b).notes == ()


def test_what_else_differs_is_said() -> None:
    failed = [*(request(number) for number in range(8)), request(9, error="HTTP 500: no")]
    a = run(level(1, failed), level(2, [request(0)]), deployment={"recipe": "one"})
    b = usual(
        deployment={"recipe": "two"},
        arguments={"input_tokens": 200},
        server=Server(endpoint="", model="m"),
    )
    assert compare(a, b).notes == (
        "only in A: c=2",
        "differs: recipe: one in A, two in B",
        "differs: input_tokens: 100 in A, 200 in B",
        "A c=1: 1 requests failed, their times are not in",
    )


def test_what_does_not_compare_is_refused() -> None:
    with pytest.raises(InputError, match="one is a sweep, the other a prefill"):
        compare(usual(), usual(kind="prefill"))
    with pytest.raises(InputError, match="no level is in both: c=1 against c=2"):
        compare(usual(), run(level(2, [request(0)])))


# Notes


def noted(requests: Sequence[Request], **more: Any) -> str:
    step = Step("c=1", 1, 1, len(requests), None, 1, 100, 10)
    return "\n".join(level_notes(level(1, requests, **more), step))


def test_a_plain_level_has_no_notes() -> None:
    seen = {"cached_tokens": 0, "looked_up": 100, "client_cpu": 0.2, "server_ttft": 0.19}
    assert noted([request(0)], **seen) == ""


@pytest.mark.parametrize(
    ("changes", "seen", "says"),
    [
        ({}, {"cached_tokens": 50, "looked_up": 100}, "the prefix cache answered 50% of the"),
        ({}, {"client_cpu": 0.97}, "used 97% of a core"),
        ({}, {"unsent": 5}, "5 requests were not sent"),
        ({}, {"server_ttft": 0.1}, "0.100 s later than by the server's own clock"),
        ({"prompt_tokens": 96}, {}, "prompts had 96 tokens, 100 were wanted"),
        ({"prompt_tokens": 0}, {}, "the server gave no usage"),
        ({"output_tokens": 7}, {}, "1 of 1 answers ended before 10 tokens"),
        ({"gaps": (0.1, 0.1)}, {}, "3.3 tokens a chunk"),
    ],
)
def test_what_makes_figures_doubtful_is_noted(
    changes: dict[str, Any], seen: dict[str, Any], says: str
) -> None:
    assert says in noted([request(0).model_copy(update=changes)], **seen)


# Report and plots


def beside(tx: float | None, *watts: float, rails: int = 1) -> HostFigures:
    rail = Rail(device="rocep1s0f1", tx=1, rx=1, tx_per_token=tx, rx_per_token=tx)
    return HostFigures(host="spark-2", rank=0, rails=(rail,) * rails, watts=watts)


@pytest.mark.parametrize(
    ("hosts", "moved", "watts"),
    [
        ([], "-", "-"),
        ([beside(1024.0, 60.0, 64.0), beside(1024.0, 80.0)], "1 KiB", "142"),
        ([beside(1024.0, rails=2), beside(1024.0)], "2 KiB", "-"),
        ([beside(None, 60.0), beside(1024.0, 80.0)], "unknown", "140"),
    ],
)
def test_what_stands_beside_a_level(hosts: list[HostFigures], moved: str, watts: str) -> None:
    found = level(1, [request(0)], hosts=tuple(hosts))
    assert (tables.moved(found), tables.watts(found)) == (moved, watts)


def test_a_report_has_the_conditions_the_figures_and_the_failures() -> None:
    failed = [request(0), request(1, error="HTTP 429: a | b")]
    one = run(
        level(1, failed, hosts=(beside(1024.0, 60.0),), notes=("doubtful",)),
        deployment={"recipe": "qwen3-vl-235b", "hosts": ["spark-2", "spark-3"]},
        interrupted=True,
    )
    text = report.markdown([one], {"sweep": "r-sweep.svg"})
    for part in (
        "# Benchmark: m",
        "- recipe: qwen3-vl-235b",
        "- hosts: spark-2, spark-3",
        "- engine: vllm 0.11.0",
        "| c=1 | 1 | 1 |",
        "| c=1 | spark-2 (rank 0) | rocep1s0f1 | 1 KiB | 1 KiB | 60 | - |",
        "- c=1: doubtful",
        "- c=1: 1 failed: HTTP 429: a | b",
        "later levels are missing",
        "![sweep](r-sweep.svg)",
    ):
        assert part in text, part
    tabled = [line for line in text.splitlines() if line.startswith("| c=1 | 1 |")]
    assert tabled[0].count("|") == len(tables.COLUMNS["sweep"]) + 1


KINDS: list[tuple[Kind, str]] = [("sweep", "c=1"), ("prefill", "1024 tokens"), ("image", "256x256")]


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_every_kind_has_a_table_and_a_comparison(kind: Kind, name: str) -> None:
    one = run(level(256, [request(n) for n in range(5)], name=name), kind=kind)
    assert f"| {name} | 5 | 0 |" in report.markdown([one], {})
    assert f"| {name} |" in report.comparison_markdown(compare(one, one))


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
@pytest.mark.parametrize("form", plots.FORMATS)
def test_plots_are_drawn_and_the_same_each_time(tmp_path: Path, kind: Kind, form: str) -> None:
    pytest.importorskip("matplotlib")
    empty = level(4, [request(0, error="no")])  # a level without times leaves a gap
    one, other = (
        run(level(1, [request(0, slow=slow)]), level(2, [request(1)]), empty, kind=kind)
        for slow in (1.0, 2.0)
    )
    drawn = [tmp_path / f"{number}.{form}" for number in range(2)]
    for path in drawn:
        plots.draw([one, other], path)
    first, second = (path.read_bytes() for path in drawn)
    assert first == second
    assert len(first) > 5000
    if form == "svg":
        assert first.startswith(b"<?xml")
        assert b"requests at once" in first or kind != "sweep" or b"<path" in first
    else:
        assert first.startswith(b"\x89PNG")


def test_without_matplotlib_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    error = refused(lambda: plots.draw([usual()], tmp_path / "x.svg"))
    assert "plots need matplotlib" in error.message
    assert "pipx inject spark-cluster matplotlib" in error.remedy
    assert "--no-plots" in error.remedy

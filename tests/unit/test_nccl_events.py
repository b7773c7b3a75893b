"""What NCCL's lines mean: every wording, in every release that has it, from either rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.rdma import from_log, nccl_releases
from spark_cluster.rdma.log_notes import notes
from spark_cluster.rdma.nccl_events import KINDS, describe, read
from spark_cluster.rdma.verbs_names import verbs_names
from spark_cluster.serving import milestones

from .nccl_formats import FORMATS, RELEASES, Format, Rank, log, number

PRODUCT = [
    (form, release, rank)
    for form, release, rank in product(FORMATS, RELEASES, (0, 1))
    if form.holds(release)
]


def verdicts(*texts: str) -> from_log.Report:
    return from_log.read({f"rank{rank}.log": text for rank, text in enumerate(texts)})


def test_the_product_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """`pytest -s` prints it; an event without a line would be one that nobody tries."""
    counts = Counter(form.event for form, _, _ in PRODUCT)
    with capsys.disabled():
        print(f"\n{len(PRODUCT)} readings: {len(counts)} events, {len(RELEASES)} releases, 2 ranks")
    tried = {form.kind for form in FORMATS} | {"network", "assigned", "channel", "start"}
    tried |= {"complete", "connected", "no-device", "ib-failed", "soft-roce"}
    assert {kind.name for kind in KINDS} <= tried
    assert len(PRODUCT) > 1000


@pytest.mark.parametrize(
    "form", FORMATS, ids=lambda form: f"{form.event}-{form.since}-{form.until}".replace(" ", "-")
)
def test_event_by_release_and_rank(form: Format) -> None:
    """Its reading, the verdict on a job of which one rank says it, and launch's."""
    releases = [release for release in RELEASES if form.holds(release)]
    assert releases
    for release, me in product(releases, (0, 1)):
        rank, place = Rank(me), (form, release, me)
        line = rank.line(release, form.level, form.text)
        found = read(line.strip())
        assert (found.kind.name if found else "") == form.kind, place
        for words in form.says:
            assert found is not None
            assert words.format(**rank.names) in describe(found), place
        parts = {"before" if form.before else "after": line}
        texts = [log(release, Rank(who), **(parts if who == me else {})) for who in (0, 1)]
        report = verdicts(*texts)
        assert report.kind == form.job, place
        assert report.ranks[1 - me].kind == "rdma", place
        failed = milestones.read(texts[me]).failure is not None
        assert failed == (form.job == "failed"), place


def test_info_is_never_final() -> None:
    """Whatever the words: each wording that ends a job, at the level INFO."""
    for form in FORMATS:
        if form.level and form.job == "failed":
            line = Rank(0).line(RELEASES[-1], "INFO", form.text)
            found = read(line.strip())
            assert found is None or not found.final, form


@pytest.mark.parametrize("form", [form for form in FORMATS if form.level == "WARN"])
def test_a_line_that_lost_its_level_is_read_by_its_words(form: Format) -> None:
    if form.event == "CUDA":
        return  # too common words: CUDA's own libraries say them, too
    found = read(form.text.format(**Rank(0).names))
    assert found is not None
    assert found.kind.name == form.kind


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("network", "kind"),
    [
        ("IB", "rdma"),
        ("IBext_v10", "rdma"),
        ("NCCL RDMA Plugin v10", "rdma"),
        ("Socket", "socket"),
        ("Mesh", "unknown"),
        ("AWS Libfabric", "unknown"),
    ],
)
def test_networks_by_their_names(release: str, network: str, kind: str) -> None:
    found = verdicts(*(log(release, Rank(rank, network=network)) for rank in (0, 1)))
    assert found.kind == kind
    assert [rank.kind for rank in found.ranks] == [kind, kind]
    told = any(f"network {network}, a plugin whose" in note for note in notes(found))
    assert told == (kind == "unknown")


@pytest.mark.parametrize("release", RELEASES)
def test_a_rank_that_never_completed_its_start(release: str) -> None:
    whole = log(release, Rank(0))
    cut = whole[: whole.index("Connected all")].rpartition("\n")[0]
    found = verdicts(cut, log(release, Rank(1)))
    assert (found.kind, found.ranks[0].kind, found.ranks[1].kind) == ("unknown", "unknown", "rdma")
    assert any("never completed, while rank 1, gx-1:4711 did" in note for note in notes(found))


def test_the_end_of_a_log_that_stayed_in_the_buffer_is_no_sign() -> None:
    """As seen of healthy servers: the start of their last communicator, and no more."""
    more = Rank(0).line("2.28.9", "INFO", "ncclCommInitRank comm 0x77 rank 0 nranks 2 - Init START")
    assert verdicts(log("2.28.9", Rank(0), after=more), log("2.28.9", Rank(1))).kind == "rdma"


@pytest.mark.parametrize("status", verbs_names().completions)
def test_every_status_of_a_completion_has_its_name(status: int) -> None:
    found = read(f"NCCL WARN NET/IB: Got completion from peer 10.0.0.1<1> with status={status} x")
    assert found is not None
    assert f"status {status} (IBV_WC_{verbs_names().completions[status][0]}, " in describe(found)
    assert found.final


# Excerpts, as people paste them

_HOST = "gx-{rank}:4711:4711 [0] "


def _without_prefix(text: str) -> str:
    return text.replace("gx-0:4711:4711 [0] ", "").replace("gx-1:4711:4711 [0] ", "")


def _each(prefix: str) -> Callable[[str], str]:
    return lambda text: "\n".join(f"{prefix}{line}" if line else "" for line in text.split("\n"))


def _json(text: str) -> str:
    escaped = [line.replace('"', '\\"') for line in text.split("\n")]
    return "\n".join(f'{{"log":"{line}\\n","stream":"stdout","time":"t"}}' for line in escaped)


#: A way to paste a log, and whether the process is still named in it.
PASTED: dict[str, tuple[Callable[[str], str], bool]] = {
    "as it is": (str, True),
    "no prefix": (_without_prefix, False),
    "no prefix, quoted": (lambda text: _each("> ")(_without_prefix(text)), False),
    "CRLF": (lambda text: text.replace("\n", "\r\n"), True),
    "CRLF, no prefix": (lambda text: _without_prefix(text).replace("\n", "\r\n"), False),
    "docker logs -t": (_each("2026-09-14T10:12:44.123456789Z "), True),
    "docker compose": (_each("vllm-head-1  | "), True),
    "docker compose, no prefix": (lambda t: _each("vllm-1  | ")(_without_prefix(t)), False),
    "docker's JSON file": (_json, True),
    "journald": (_each("Sep 14 10:12:44 gx-0 docker[812]: "), True),
    "journald, no prefix": (
        lambda t: _each("Sep 14 10:12:44 h vllm[8]: ")(_without_prefix(t)),
        False,
    ),
    "journalctl -o short-iso": (_each("2026-09-14T10:12:44+0000 gx-0 docker[812]: "), True),
    "Ray": (_each("(RayWorkerWrapper pid=4711, ip=10.77.1.1) "), True),
    "Ray, coloured": (_each("\x1b[36m(RayWorkerWrapper pid=4711)\x1b[0m "), True),
    "colours as text": (_each("^[[36m(RayWorkerWrapper pid=4711)^[[0m "), True),
    "colours, the escape lost": (_each("[36m(RayWorkerWrapper pid=4711)[0m "), True),
    "vLLM": (_each("(Worker_TP0 pid=4711) "), True),
    "no device": (lambda text: text.replace("[0] NCCL INFO", "NCCL INFO"), True),
}


@pytest.mark.parametrize("release", ["2.19.4", "2.28.9", "2.32.3"])
@pytest.mark.parametrize("way", PASTED)
def test_pasted_logs(way: str, release: str) -> None:
    paste, named = PASTED[way]
    whole = [paste(log(release, Rank(rank))) for rank in (0, 1)]
    found = verdicts(*whole)
    assert [(rank.witness.rank, rank.kind) for rank in found.ranks] == [(0, "rdma"), (1, "rdma")]
    assert [bool(rank.process) for rank in found.ranks] == [named, named]
    assert found.kind == "rdma"
    forms = [form for form in FORMATS if form.holds(release) and form.level == "WARN"]
    for form in forms:
        line = Rank(0).line(release, form.level, form.text)
        found = verdicts(paste(log(release, Rank(0), after=line)), whole[1])
        assert found.kind == form.job, (form, way)
        (alone,) = verdicts(paste(line)).ranks
        assert (alone.kind == "failed") == (form.job == "failed"), (form, way)


@given(st.text())
def test_any_line_is_taken(line: str) -> None:
    found = read(line)
    assert found is None or describe(found)


# Reported releases


def test_advice_names_no_release_that_is_reported() -> None:
    for entry in nccl_releases.reported():
        for release in entry.helps.replace(",", " ").replace(";", " ").split():
            if release[0].isdigit() and release.count(".") == 2:
                assert nccl_releases.told(release, 8) == [], (entry, release)
    assert nccl_releases.told("2.29.7", 8) == []


@pytest.mark.parametrize("release", [*RELEASES, "2.18.6", "2.29.10", "2.33.0"])
@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_ranges_of_reported_releases(release: str, ranks: int) -> None:
    said = " ".join(nccl_releases.told(release, ranks))
    numbers = number(release)
    assert ("can lose operations of its proxy" in said) == ((2, 28, 9) <= numbers <= (2, 29, 2))
    assert ("is older than 2.29.3" in said) == ((2, 27) <= numbers < (2, 28, 9))
    assert ("eight Sparks" in said) == (release == "2.30.4")
    four = ranks >= 4 and release in ("2.28.9", "2.30.4", "2.30.7")
    assert ("four Sparks" in said) == four
    assert "older" not in " ".join(nccl_releases.told(release, ranks, doubtful=False))


def test_a_job_that_ended_well_is_not_told_of_reports() -> None:
    texts = [log("2.28.9", Rank(rank)) for rank in (0, 1)]
    assert any("proxy" in note for note in notes(verdicts(*texts)))
    end = "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 22.0874\n"
    assert not any("proxy" in note for note in notes(verdicts(*(text + end for text in texts))))


def test_two_builds_of_one_release_are_told_apart() -> None:
    texts = [log("2.29.7", Rank(rank)) for rank in (0, 1)]
    texts[1] += Rank(1).line("2.29.7", "INFO", "NCCL git version master 6f2a9c1")
    (said,) = notes(verdicts(*texts))
    assert "different builds of one release" in said
    assert "rank 0, gx-0:4711: 2.29.7+cuda13.0; rank 1, gx-1:4711: 2.29.7 (master 6f2a9c1)" in said

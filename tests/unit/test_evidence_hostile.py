"""Evidence of a host that means harm: bombs, files elsewhere, what is slow to search."""

from __future__ import annotations

import base64
import gzip
import io
import subprocess
import tarfile
from collections.abc import Iterator

import pytest

from spark_cluster.evidence import script as scripts
from spark_cluster.evidence import unpack
from spark_cluster.evidence.index import About, Part, page
from spark_cluster.evidence.items import Item
from spark_cluster.evidence.redact import LEFT_OUT, redact_files
from spark_cluster.runner import evidence as collecting

from .test_evidence import run


def member(name: str, size: int = 3, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type = (size if kind == tarfile.REGTYPE else 0), kind
    return made


def sent(*members: tarfile.TarInfo, content: bytes = b"abc") -> str:
    """An archive as a host sends it; every file has the same content, as far as it goes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for each in members:
            archive.addfile(each, io.BytesIO(content) if each.size else None)
    return base64.b64encode(stream.getvalue()).decode()


@pytest.mark.parametrize(
    "name",
    [
        "../escaped.txt",
        "a/../../escaped.txt",
        "/etc/escaped",
        "docker/..",
        "..",
        ".",
        ".ssh/authorized_keys",
        "a//b",
        "a/b/c/d/e.txt",
        "a\nverdict: rdma",
        "a\x1b[2J.txt",
        "a\u202etxt",
        "[x](http://y)",
        "x" * 200,
        "a b",
        "a\\b",
        "C:\\x",
        "é.txt",
    ],
)
def test_a_file_that_is_none_of_ours_is_left_out_and_said(name: str) -> None:
    found = unpack.parse("spark-2", sent(member(name), member("./top.txt")), [])
    assert found.files == {"top.txt": b"abc"}
    assert found.note == "1 file with names that are none of ours left out"
    assert found.problem == ""


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE],
)
def test_links_and_devices_are_left_out_and_said(kind: bytes) -> None:
    link = member("link.txt", kind=kind)
    link.linkname = "/etc/shadow"
    found = unpack.parse("spark-2", sent(link, member("top.txt")), [])
    assert found.files == {"top.txt": b"abc"}
    assert found.note


def test_a_name_given_twice_counts_once() -> None:
    found = unpack.parse("spark-2", sent(member("a.txt"), member("a.txt", 1)), [])
    assert found.files == {"a.txt": b"abc"}
    assert found.note


def zeros(size: int) -> Iterator[bytes]:
    head = tarfile.TarInfo("docker/bomb.txt")
    head.size = size
    yield member("top.txt").tobuf() + b"abc".ljust(512, b"\0")
    yield head.tobuf()
    block = bytes(1024 * 1024)
    for _ in range(size // len(block)):
        yield block


def test_a_bomb_ends_at_the_hosts_share_and_the_rest_is_kept() -> None:
    """6 GiB of zeros are 6 MiB in gzip."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as packed:
        for block in zeros(unpack.HOST_LIMIT + 8 * 1024 * 1024):
            packed.write(block)
    found = unpack.parse("spark-2", base64.b64encode(stream.getvalue()).decode(), [])
    assert found.files == {"top.txt": b"abc"}
    assert found.problem == "the host sent more than 128 MiB: the rest is left out"


def test_a_sparse_file_is_not_filled_with_its_holes() -> None:
    hole = tarfile.TarInfo("hole.txt")
    hole.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.name": "hole.txt",
        "GNU.sparse.size": str(2**43),
        "GNU.sparse.map": "0,1",
    }
    hole.size = 1
    found = unpack.parse("spark-2", sent(hole, member("top.txt"), content=b"abc"), [])
    assert set(found.files) == {"top.txt"}


def test_of_a_file_with_too_much_the_newest_part_is_kept() -> None:
    content = b"old" + b"n" * unpack.FILE_LIMIT
    found = unpack.parse("spark-2", sent(member("a.txt", len(content)), content=content), [])
    assert found.files["a.txt"] == b"n" * unpack.FILE_LIMIT
    assert found.cut == {"a.txt"}


def test_too_many_files_end_the_archive() -> None:
    found = unpack.parse(
        "spark-2", sent(*(member(f"{n}.txt") for n in range(unpack.FILES + 5))), []
    )
    assert len(found.files) == unpack.FILES
    assert found.problem == "the host sent more than 2000 files: the rest is left out"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "é",
        "AAAA",
        base64.b64encode(gzip.compress(b"no tar" * 200, mtime=0)).decode(),
        "H4sIAAAA" * 9,
    ],
)
def test_what_is_no_archive_is_a_problem_and_no_traceback(text: str) -> None:
    found = unpack.parse("spark-2", text, [])
    assert found.files == {}
    assert found.problem.startswith("what the host sent broke off: ")


def test_one_hosts_names_cannot_reach_anothers_folder() -> None:
    parts = [unpack.parse("spark-2", sent(member("../spark-3/dmesg.txt")), [])]
    (clean,) = collecting.redacted(parts, [])
    assert clean.files == {}


# What is cut


def test_a_log_that_was_cut_says_so_and_keeps_its_newest_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scripts, "_HEAD", scripts._HEAD.replace(str(scripts.ITEM_LIMIT), "100"))
    wanted = [
        Item("lines.txt", "seq 30", lines=10),
        Item("bytes.txt", "seq 100"),
        Item("whole.txt", "seq 10", lines=10),
        Item("list.txt", 'seq 300 >"$OUT/log-a.txt"; echo a', lines=20, others="log-*.txt"),
    ]
    found = run(wanted)
    assert found.files["lines.txt"].split() == [b"%d" % n for n in range(21, 31)]
    assert found.files["bytes.txt"].endswith(b"\n99\n100\n")
    assert found.files["log-a.txt"].split() == [b"%d" % n for n in range(281, 301)]
    assert found.cut == {"lines.txt", "bytes.txt", "log-a.txt"}
    about = About("now", "inventory.yaml", "0")
    index = page(about, [Part("spark-2", found.files, cut=found.cut)], [])
    assert "- [lines.txt](spark-2/lines.txt) 30 B: cut: only its newest part is here" in index
    assert "whole.txt) 21 B\n" in index


def test_docker_logs_are_asked_for_one_line_more_than_is_kept() -> None:
    from .test_evidence import CONTEXT

    (logs,) = [i for i in scripts_items(CONTEXT) if i.path == "docker/logs.txt"]
    assert f"--tail {logs.lines + 1}" in logs.shell
    assert subprocess.run(["sh", "-n"], input=logs.shell, text=True, check=True).returncode == 0


def scripts_items(context: object) -> tuple[Item, ...]:
    from spark_cluster.evidence.items import items

    return items(context)  # type: ignore[arg-type]


def test_what_takes_too_long_to_search_is_left_out() -> None:
    files = {"a.txt": b"HF_TOKEN=plant-01", "b.txt": b""}
    assert redact_files(files, set(), seconds=-1) == {"a.txt": LEFT_OUT, "b.txt": LEFT_OUT}

"""The pure half of transfer/: what is complete, who copies to whom, what limited it."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster import places
from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.error import CheckFailed, InputError
from spark_cluster.facts.models import Image, ImagesFact, full_name, parse_images, parse_models
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes.naming import image_of, model_of
from spark_cluster.transfer import cache, failures, node, plan, rates, scripts
from spark_cluster.transfer.cache import CachedModel, Entry, Snapshot
from spark_cluster.transfer.node import files
from spark_cluster.transfer.payload import ModelPayload

from .world import inventory

ONE, TWO = "1" * 40, "2" * 40
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def entry(path: str, size: int | None = 10) -> Entry:
    return Entry(path, hashlib.sha256(path.encode()).hexdigest(), size)


def model(
    *paths: str,
    revision: str = ONE,
    weights: tuple[str, ...] = SHARDS,
    broken: tuple[str, ...] = (),
    **more: Any,
) -> CachedModel:
    entries = [entry(path) for path in paths] + [entry(path, None) for path in broken]
    snapshot = Snapshot(revision, tuple(entries), weights)
    return CachedModel("org/name", refs={"main": revision}, snapshots=(snapshot,), **more)


WHOLE = model("config.json", *SHARDS)


# Complete, or why not


@pytest.mark.parametrize(
    ("held", "faults"),
    [
        (WHOLE, ()),
        (model("config.json", "model.safetensors", weights=()), ()),
        (CachedModel("org/name"), ("there is no ref main",)),
        (
            CachedModel("org/name", refs={"main": ONE}),
            ("the snapshot 111111111111 is not there",),
        ),
        (
            model("config.json", SHARDS[0]),
            (f"1 weight file is missing: {SHARDS[1]}",),
        ),
        # A shard without its siblings, whatever the index says.
        (
            model("q4-00001-of-00003.gguf", weights=()),
            ("2 weight files are missing: q4-00002-of-00003.gguf, q4-00003-of-00003.gguf",),
        ),
        (
            model("config.json", *SHARDS, broken=("tokenizer.json",)),
            ("1 file is missing: tokenizer.json",),
        ),
        (
            model("config.json", SHARDS[0], broken=(SHARDS[1],)),
            (f"1 file is missing: {SHARDS[1]}",),
        ),
        (model("config.json", weights=()), ("it has no weight file",)),
        (
            model("config.json", *SHARDS, partial=("ab.incomplete", "cd.incomplete")),
            ("2 downloads not finished",),
        ),
    ],
)
def test_complete_or_why_not(held: CachedModel, faults: tuple[str, ...]) -> None:
    assert held.faults() == faults
    assert held.complete() == (not faults)


def test_another_revision_is_looked_at_for_itself() -> None:
    both = replace(
        WHOLE, snapshots=(*WHOLE.snapshots, Snapshot(TWO)), refs={"main": ONE, "v2": TWO}
    )
    assert both.complete("main")
    assert both.faults("v2") == ("it has no weight file",)
    assert both.complete(ONE), "a commit names itself"
    assert both.faults("3" * 40) == (f"there is no ref {'3' * 40}",)


def test_a_manifest_has_each_blob_once_and_links_that_lead_there() -> None:
    twice = model("a.safetensors", "deep/er/b.json", weights=())
    (a, b) = twice.snapshots[0].files
    same = replace(twice.snapshots[0], files=(a, b, Entry("copy.safetensors", a.blob, a.size)))
    what = cache.manifest(replace(twice, snapshots=(same,)))
    assert [file.path for file in what.files] == [f"blobs/{a.blob}", f"blobs/{b.blob}"]
    assert what.size == 20
    assert dict(what.links) == {
        f"snapshots/{ONE}/a.safetensors": f"../../blobs/{a.blob}",
        f"snapshots/{ONE}/deep/er/b.json": f"../../../../blobs/{b.blob}",
        f"snapshots/{ONE}/copy.safetensors": f"../../blobs/{a.blob}",
    }
    assert what.refs == {"main": ONE}
    assert cache.manifest(WHOLE, ONE).refs == {}, "a commit is no ref"


def test_a_file_without_a_hash_for_its_name_cannot_be_copied() -> None:
    plain = Snapshot(ONE, (Entry("model.safetensors", "", 5),))
    with pytest.raises(ValueError, match=r"model\.safetensors is no link"):
        cache.manifest(replace(WHOLE, snapshots=(plain,)))


def test_skew() -> None:
    other = model("config.json", *SHARDS, revision=TWO)
    assert cache.skew({"spark-2": WHOLE, "spark-3": WHOLE}) == ""
    assert cache.skew({"spark-2": WHOLE, "spark-3": other}) == (
        "main is 111111111111 on spark-2; 222222222222 on spark-3"
    )
    more = model("config.json", "README.md", *SHARDS)
    assert cache.skew({"spark-2": WHOLE, "spark-3": more}) == (
        "the same revision has 3 files on spark-2; 4 files on spark-3"
    )
    assert cache.skew({"spark-2": WHOLE, "spark-3": model("config.json")}) == ""


@given(st.text() | st.lists(st.text()).map("\n".join))
def test_any_output_of_a_node_is_taken(text: str) -> None:
    assert parse_models(text).found == ()
    parse_images(text)
    scripts.look(text)
    scripts.started(text)
    scripts.iperf_ports(text)
    assert rates.iperf_gbits(text) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    )
)
def test_any_object_of_a_node_is_taken(value: Any) -> None:
    line = json.dumps({"model": value, "refs": value, "snapshots": value})
    assert cache.parse([line, "{"]) == ()
    rates.Pace().text({"bytes": value, "total": value}, 1.0)


def test_a_cache_that_could_not_be_read_is_no_empty_cache() -> None:
    assert parse_models("no-python\n").error == "python3 is not installed"
    assert parse_models('{"model": "org/name"').error
    assert parse_models("").error
    assert parse_models('{"done": {}}\n').error == ""


def test_images_of_docker() -> None:
    text = (
        'sha256:ab 123 ["a:1","b:2"] null\nsha256:cd 5 null ["c@sha256:ee"]\n'
        'sha256:ef 7 ["d:latest"] []\nsha256:00 x [] []\nnoise\n'
    )
    found = parse_images(text)
    assert [image.id for image in found.images] == ["sha256:ab", "sha256:cd", "sha256:ef"]
    assert [found.named(name) is not None for name in ("b:2", "b", "c@sha256:ee", "d")] == [
        True, False, True, True,
    ]  # fmt: skip
    assert parse_images("error Cannot connect to the Docker daemon\n").error.startswith("Cannot")


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("vllm-node", "vllm-node:latest"),
        ("ollama/ollama:0.34.3", "ollama/ollama:0.34.3"),
        ("docker.io/ollama/ollama:0.34.3", "ollama/ollama:0.34.3"),
        ("index.docker.io/ollama/ollama", "ollama/ollama:latest"),
        ("docker.io/library/busybox", "busybox:latest"),
        ("docker.io/busybox:1", "busybox:1"),
        ("library/busybox", "busybox:latest"),
        ("docker.io/library/deep/er", "library/deep/er:latest"),
        ("localhost:5000/library/busybox", "localhost:5000/library/busybox:latest"),
        ("nvcr.io/nvidia/vllm:25.11-py3", "nvcr.io/nvidia/vllm:25.11-py3"),
        ("docker.io/ollama/ollama:0.34.3@sha256:ab", "ollama/ollama@sha256:ab"),
        ("localhost:5000/x@sha256:ab", "localhost:5000/x@sha256:ab"),
    ],
)
def test_a_name_is_the_one_that_docker_tells(name: str, full: str) -> None:
    assert full_name(name) == full
    assert ImagesFact((Image("sha256:cd", 5, (full,)),)).named(name) is not None


# Who copies to whom


def cluster(**hosts: dict[str, list[str]]) -> Inventory:
    """Hosts with `rails` and `links`, each an address; the interface's name is made up."""
    return Inventory.model_validate(
        {
            "hosts": {
                name: {
                    "rails": [
                        {"interface": f"r{n}", "device": f"d{n}", "address": address}
                        for n, address in enumerate(given.get("rails", ()))
                    ],
                    "links": [
                        {"interface": f"l{n}", "address": address}
                        for n, address in enumerate(given.get("links", ()))
                    ],
                }
                for name, given in hosts.items()
            }
        }
    )


def test_all_rails_are_used_and_links_only_without_rails() -> None:
    way = plan.route(inventory(), "spark-2", "spark-3")
    assert way is not None
    assert way.addresses == ("192.168.100.10", "192.168.101.10")
    slow = plan.route(inventory(), "spark-2", "spark-1")
    assert slow is not None
    assert slow.addresses == ("192.168.102.11",)
    assert plan.route(inventory(), "spark-3", "spark-1") is None


def test_a_host_without_a_way_is_reached_through_one_that_has_it() -> None:
    waves, apart = plan.waves(inventory(), ["spark-3"], ["spark-1", "spark-2"])
    assert [[(way.source, way.sink) for way in wave] for wave in waves] == [
        [("spark-3", "spark-2")],
        [("spark-2", "spark-1")],
    ]
    assert apart == []
    assert plan.waves(inventory(), ["spark-3"], ["spark-1"])[1] == ["spark-1"]


def test_rails_come_before_links_and_the_least_busy_source_first() -> None:
    net = cluster(
        a={"rails": ["10.0.0.1/24"], "links": ["10.1.0.1/24"]},
        b={"rails": ["10.0.0.2/24"], "links": ["10.1.0.2/24"]},
        c={"rails": ["10.0.0.3/24"]},
        d={"rails": ["10.0.0.4/24"]},
        e={"links": ["10.1.0.5/24"]},
    )
    waves, apart = plan.waves(net, ["a", "b"], ["c", "d", "e"])
    assert apart == []
    assert [(way.source, way.sink) for way in waves[0]] == [("a", "c"), ("b", "d"), ("a", "e")]
    assert waves[0][2].addresses == ("10.1.0.1",)


@pytest.mark.parametrize(
    ("groups", "named", "wanted"),
    [
        ({}, None, ["a", "b"]),
        ({"g": ["b"]}, None, ["b"]),
        ({"g": ["b"], "h": ["a"]}, ["h"], ["a"]),
        ({"g": ["b"]}, ["a", "g"], ["a", "b"]),
    ],
)
def test_which_hosts_should_have_it(
    groups: dict[str, list[str]], named: list[str] | None, wanted: list[str]
) -> None:
    net = Inventory.model_validate({"hosts": {"a": {}, "b": {}}, "groups": groups})
    assert plan.targets(net, named) == wanted


def test_with_several_groups_one_must_be_named() -> None:
    net = Inventory.model_validate(
        {"hosts": {"a": {}, "b": {}}, "groups": {"g": ["a"], "h": ["b"]}}
    )
    with pytest.raises(InputError, match="2 groups") as raised:
        plan.targets(net, None)
    assert "--to: g, h" in raised.value.remedy


def test_the_source_is_complete_and_alone_in_its_opinion() -> None:
    other = model("config.json", *SHARDS, revision=TWO)
    part = model("config.json", SHARDS[0])
    assert plan.source({"a": None, "b": WHOLE, "c": WHOLE}, "main", None) == (["b", "c"], "")
    assert plan.source({"a": part, "b": WHOLE}, "main", None) == (["b"], "")
    assert plan.source({"a": other, "b": WHOLE}, "main", "b") == (["b"], "")
    sources, why = plan.source({"a": other, "b": WHOLE}, "main", None)
    assert not sources
    assert why == "the complete copies differ: 222222222222 on a, 111111111111 on b"
    sources, why = plan.source({"a": part, "b": None}, "main", None)
    assert not sources
    assert why.startswith("no host has it complete. a: 1 weight file is missing")
    assert why.endswith("b: it is not there")
    assert plan.source({"a": part}, "main", "a")[0] == []


MORE = model("config.json", "README.md", *SHARDS)


def test_of_copies_of_one_commit_the_one_that_has_all_is_the_source() -> None:
    assert plan.source({"a": WHOLE, "b": MORE, "c": MORE}, "main", None) == (["b", "c"], "")
    assert plan.source({"a": WHOLE, "b": MORE}, "main", "a") == (["a"], "")
    assert cache.holds(MORE, WHOLE)
    assert not cache.holds(WHOLE, MORE)
    assert not cache.holds(None, WHOLE)
    assert not cache.holds(model("config.json", *SHARDS, revision=TWO), WHOLE)
    assert not cache.holds(model("config.json", *SHARDS, partial=("ab.incomplete",)), WHOLE)


def other(path: str) -> CachedModel:
    """WHOLE with something else in this file."""
    (snapshot,) = WHOLE.snapshots
    changed = [replace(e, blob="0" * 64) if e.path == path else e for e in snapshot.files]
    return replace(WHOLE, snapshots=(replace(snapshot, files=tuple(changed)),))


def test_a_file_is_the_same_by_its_hash() -> None:
    assert not cache.holds(other("config.json"), WHOLE)


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (
            {"a": MORE, "b": model("config.json", "LICENSE", *SHARDS), "c": WHOLE},
            "README.md on a; LICENSE on b",
        ),
        ({"a": WHOLE, "b": other("config.json")}, "config.json on a; config.json on b"),
        (
            {"a": WHOLE, "b": model("1", "2", "3", "4", *SHARDS)},
            "config.json on a; 1, 2, 3, … on b",
        ),
    ],
)
def test_copies_of_one_commit_that_differ_say_in_what(
    held: dict[str, CachedModel], says: str
) -> None:
    sources, why = plan.source(held, "main", None)
    assert not sources
    assert why == f"the complete copies of 111111111111 differ: {says}"


def test_a_download_goes_on_where_most_of_it_is() -> None:
    held = {"a": replace(WHOLE, size=5), "b": replace(WHOLE, size=50), "c": None}
    assert plan.downloader(held, ["a", "b", "c"], None) == "b"
    assert plan.downloader(held, ["a", "b"], "a") == "a"
    assert plan.downloader({"b": None, "c": None}, ["c", "b"], None) == "c"


# Rates


def copied(**more: Any) -> rates.Copied:
    spent = {"receive": 1.0, "hash": 1.0, "write": 8.0}
    return rates.Copied("spark-2", "spark-3", 10**10, 0, 0, 10.0, 8, **{"spent": spent, **more})


@pytest.mark.parametrize(
    ("seen", "limit"),
    [
        (copied(), "the disk of spark-3 (writing)"),
        (copied(spent={"receive": 1, "hash": 5, "write": 1}), "the CPU of spark-3 (hashing)"),
        (copied(wire=200.0, iperf=9.0), "the wire"),
        (copied(wire=9.0), "the wire"),
        (copied(wire=9.0, iperf=90.0), "the disk of spark-3 (writing)"),
        (
            copied(spent={"receive": 9, "write": 1}, at_source=rates.Usage(disk=0.97)),
            "the disk of spark-2 (reading)",
        ),
        (
            copied(spent={"receive": 9, "write": 1}, at_source=rates.Usage(cpu=7.0, disk=0.1)),
            "the CPU of spark-2 (sending)",
        ),
        (
            copied(spent={"receive": 9, "write": 1}),
            "the wire, or spark-2: spark-3 waited for data",
        ),
        (replace(copied(), received=0), ""),
    ],
)
def test_what_limited_a_copy(seen: rates.Copied, limit: str) -> None:
    assert seen.limit == limit


def test_a_copy_in_words() -> None:
    assert copied().gbits == 8.0
    said = copied(wire=200.0, iperf=94.1).summary
    assert said == (
        "9.31 GiB in 10 s, 8 Gb/s (iperf3 94.1 Gb/s, link 200 Gb/s); "
        "limit: the disk of spark-3 (writing)"
    )
    there = replace(copied(), received=0, there=2048)
    assert there.summary == "2 KiB were there already"
    assert replace(there, placed=2).summary == "2 KiB were there already; 2 links set"
    usage = rates.Usage.of({"cpu": 2.5, "disk": 0.5, "written": 1024.0, "read": None})
    first, second = copied(at_sink=usage).details
    assert first == (
        "spark-3: its 8 streams spent receive 10 %, hash 10 %, write 80 % of their time; "
        "2.5 cores busy, disk busy 50 %, 1 KiB/s written"
    )
    assert second == "spark-2: CPU unknown, disk unknown"
    assert json.loads(json.dumps(copied().as_data()))["gbits"] == 8.0


def test_the_pace_of_a_phase_begins_with_the_phase() -> None:
    pace = rates.Pace()
    gib = 1024**3
    assert pace.text({}, 1.0) == "starting"
    assert pace.text({"phase": "download", "bytes": gib, "total": 3 * gib}, 5.0) == (
        "download 1 GiB of 3 GiB"
    )
    assert pace.text({"phase": "download", "bytes": 2 * gib, "total": 3 * gib}, 15.0) == (
        "download 2 GiB of 3 GiB, 0.859 Gb/s, 10 s left"
    )
    assert pace.text({"phase": "verify", "bytes": 0, "total": 3 * gib}, 20.0) == (
        "verify 0 B of 3 GiB"
    )


def test_iperf3_says_what_was_received() -> None:
    one = json.dumps({"end": {"sum_received": {"bits_per_second": 9.4e10}}})
    assert rates.iperf_gbits(f"{one}\n{one}\n") == pytest.approx(188.0)
    assert rates.iperf_gbits(f'{one}\n{{"error": "unable to connect"}}') is None
    assert rates.iperf_gbits("") is None
    assert scripts.iperf_ports("ready 5201 5202") == (5201, 5202)
    assert scripts.iperf_ports("failed iperf3 is not installed") == ()


# Programs on the nodes

NODE = Path(node.__file__).parent


@pytest.mark.parametrize("path", sorted(NODE.glob("*.py")), ids=lambda path: path.name)
def test_a_node_needs_nothing_but_python(path: Path) -> None:
    """What the programs import is of the standard library, or sent along."""
    sent = {module.__name__ for module in scripts._MODULES}
    for found in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in found.names] if isinstance(found, ast.Import) else []
        if isinstance(found, ast.ImportFrom):
            names = [found.module or ""]
        for name in names:
            own = name.startswith("spark_cluster.")
            assert name.partition(".")[0] in sys.stdlib_module_names or own, name
            if own and name != node.__name__:
                assert name in sent


def test_every_reason_has_an_error() -> None:
    """All that the programs can say, and all of it is known to the controller."""
    reasons = set()
    for path in NODE.glob("*.py"):
        for found in ast.walk(ast.parse(path.read_text())):
            if isinstance(found, ast.Call) and getattr(found.func, "id", "") == "Failed":
                reasons |= {arg.value for arg in found.args[:1] if isinstance(arg, ast.Constant)}
    assert {"corrupt", "network", "space"} <= reasons
    for reason in reasons - {"missing"}:
        error = failures.failure({"failed": "it", "reason": reason}, "spark-2", "fetch")
        assert error.code in DIAGNOSES
        assert error.remedy == DIAGNOSES[error.code or ""].fix
    assert isinstance(failures.failure({"failed": "x", "reason": "corrupt"}, "a", "b"), CheckFailed)
    assert failures.failure({"failed": "x", "reason": "new"}, "a", "b").remedy


def test_what_a_program_says_last_counts() -> None:
    text = (
        'ended\n{"note": "a"}\n{"note": "a"}\n{"bytes": 1}\n{"done": {"x": 1}}\nerrors Traceback\n'
    )
    seen = scripts.look(text)
    assert not seen.alive
    assert seen.said == {"done": {"x": 1}}
    assert seen.notes == ("a",)
    assert seen.errors == "Traceback"
    assert scripts.look("alive\n").alive
    started = scripts.started('ready /tmp/x.1 77 {"ready": [["10.0.0.1", 5]]}')
    assert started is not None
    assert (started.folder, started.pid, started.said["ready"]) == (
        "/tmp/x.1",
        77,
        [["10.0.0.1", 5]],
    )
    assert scripts.started("failed no-python") is None


def test_the_job_is_in_the_script_and_not_in_the_command() -> None:
    payload = ModelPayload("org/name", "/m", cache.manifest(WHOLE), 8)
    script = scripts.held(*payload.serve(["10.0.0.1"], "t" * 64))
    (run,) = [line for line in script.splitlines() if " -m " in line]
    assert "t" * 64 in script
    assert "t" * 64 not in run
    assert run.startswith("python3 -m spark_cluster.transfer.node.copy serve job.json")


def test_errors_name_the_file_and_not_its_blob() -> None:
    payload = ModelPayload("org/name", "/m", cache.manifest(WHOLE), 8)
    blob = WHOLE.snapshots[0].files[1]
    assert payload.named(f"blobs/{blob.blob} is corrupt") == f"{blob.path} is corrupt"
    assert WHOLE.file_of(f"blobs/{blob.blob}") == blob.path
    assert WHOLE.file_of("blobs/ff") == "blobs/ff"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a" * 64, files.SHA256), ("0" * 40, files.GIT), ("z" * 64, None), ("ab", None)],
)
def test_the_kind_of_a_blobs_name(name: str, kind: str | None) -> None:
    assert files.kind_of(name) == kind


def test_hashes_are_those_of_git_and_sha256sum() -> None:
    """git hash-object of an empty file, and of `test content` with a newline (git's own book)."""
    assert files.hasher(files.GIT, 0).hexdigest() == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    found = files.hasher(files.GIT, 13)
    found.update(b"test content\n")
    assert found.hexdigest() == "d670460b4b4aece5915caf5c68d12f560a9fe3e4"
    assert files.hasher(files.SHA256, 0).hexdigest().startswith("e3b0c44298fc1c149afbf4c8996fb924")


def test_a_link_is_replaced_in_one_step(tmp_path: Path) -> None:
    link = tmp_path / "deep" / "link"
    assert files.put_link(link, "../a")
    assert files.put_link(link, "../b")
    assert not files.put_link(link, "../b")
    assert str(link.readlink()) == "../b"
    assert files.put_text(tmp_path / "refs" / "main", ONE)
    assert not files.put_text(tmp_path / "refs" / "main", ONE)
    assert (tmp_path / "refs" / "main").read_text() == ONE
    assert [path.name for path in tmp_path.rglob("*") if "incomplete" in path.name] == []


# Names


def test_a_model_is_named_by_the_hub_or_by_a_recipe() -> None:
    hub = model_of("org/name", {})
    assert (hub.name, hub.cache, hub.image) == ("org/name", "~/.cache/huggingface", "")
    recipe = model_of("qwen3-vl-235b", {})
    assert recipe.name == "QuantTrio/Qwen3-VL-235B-A22B-Instruct-AWQ"
    assert recipe.image == "nvcr.io/nvidia/vllm:25.11-py3"
    assert model_of("qwen3-vl-235b", {}, "/opt/hf").cache == "/opt/hf"
    assert (hub.revision, recipe.revision) == ("main", "main")


@pytest.mark.parametrize("given", ["a/b/c", "foo", "qwen3-vl-235", "/opt/hf", "-x/y"])
def test_a_name_that_fits_neither_says_what_would(given: str) -> None:
    with pytest.raises(InputError, match="neither ORG/NAME, as the hub names a model, nor") as told:
        model_of(given, {})
    assert "Known recipes: " in told.value.remedy
    assert "Qwen/Qwen3-32B-FP8" in told.value.remedy


def test_a_file_that_is_not_there_is_told_as_one() -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        model_of("./nowhere.yaml", {})


def test_an_image_is_named_by_docker_or_by_a_recipe() -> None:
    assert image_of("nvcr.io/nvidia/vllm:26.05-py3", {}) == "nvcr.io/nvidia/vllm:26.05-py3"
    assert image_of("qwen3-vl-235b", {}) == "nvcr.io/nvidia/vllm:25.11-py3"
    with pytest.raises(InputError, match="there is no recipe 'nothing'"):
        image_of("nothing", {})


def test_a_recipe_whose_model_is_not_on_the_hub(tmp_path: Path) -> None:
    base = places.shipped("playbooks") / "recipes" / "qwen3-vl-235b.yaml"
    path = tmp_path / "other.yaml"
    path.write_text(base.read_text().replace("QuantTrio/Qwen3-VL-235B-A22B-Instruct-AWQ", "q:7b"))
    shutil.copytree(base.parent / "files", tmp_path / "files")
    with pytest.raises(InputError, match=r"serves q:7b, which is no ORG/NAME") as raised:
        model_of(str(path), {})
    assert raised.value.place == str(path)

"""What the real huggingface_hub leaves in a cache, before and after its shared store and without
symlinks: listed, checked by launch, verified, copied whole, removed without the others' loss."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.core.error import CheckFailed
from spark_cluster.facts import probe
from spark_cluster.runner.remote_program import program
from spark_cluster.transfer import scripts
from spark_cluster.transfer.cache import CachedModel, holds, identified, manifest, nameless
from spark_cluster.transfer.node import hub as node_hub
from spark_cluster.transfer.node import pull, store
from spark_cluster.transfer.payload import ModelPayload
from tests.hub_cache import MODEL, content
from tests.hub_server import COMMIT, Hub
from tests.hub_server import running as serving

from .hub_clients import download, new_client, old_client
from .place import Place

pytestmark = pytest.mark.contract

TOKEN = "a" * 64
OTHER = "org/other-model"
SHARD = "model-00002-of-00003.safetensors"

#: Client, its environment: the layouts that a cache can have.
LAYOUTS: dict[str, tuple[Callable[[], str], Mapping[str, str]]] = {
    "shared": (new_client, {}),
    "shared-off": (new_client, {"HF_HUB_DISABLE_SHARED_BLOBS": "1"}),
    "old": (old_client, {}),
    "no-symlinks": (new_client, {"HF_HUB_DISABLE_SYMLINKS": "1"}),
    "old-no-symlinks": (old_client, {"HF_HUB_DISABLE_SYMLINKS": "1"}),
    "no-symlinks-no-list": (old_client, {"HF_HUB_DISABLE_SYMLINKS": "1"}),
}


@pytest.fixture
def files() -> dict[str, bytes]:
    return content()


@pytest.fixture(params=LAYOUTS)
def place(request: pytest.FixtureRequest, tmp_path: Path, files: dict[str, bytes]) -> Place:
    """A node with the model as the client of that layout brought it."""
    client, environment = LAYOUTS[request.param]
    found = Place(tmp_path, "spark-2")

    def bring() -> None:
        with serving(Hub(MODEL, files, xet=True)) as hub:
            download(client(), hub.url, MODEL, found.hub, **environment)

    if request.param == "shared":
        in_the_store(found, 3, bring)
    else:
        bring()
    if request.param.endswith("no-list"):  # as still older clients leave it
        shutil.rmtree(found.folder / "trees")
    return found


@pytest.fixture
def shared(tmp_path: Path, files: dict[str, bytes]) -> Place:
    """A node with two models, whose large files are the same, in the shared store."""
    found = Place(tmp_path, "spark-2")
    small = {**files, "config.json": b'{"other": 1}\n', "own.safetensors": os.urandom(90_000)}

    def bring() -> None:
        for model, held in ((MODEL, files), (OTHER, small)):
            with serving(Hub(model, held, xet=True)) as hub:
                download(new_client(), hub.url, model, found.hub)

    in_the_store(found, 4, bring)
    return found


def in_the_store(place: Place, count: int, bring: Callable[[], None]) -> None:
    """`bring` the models until all `count` large files are in the shared store. The client was seen
    to keep one with its model instead, on a busy machine: then it is asked again."""
    for _ in range(6):
        bring()
        kept = [path for path in place.hub.glob("models--*/blobs/*") if not path.is_symlink()]
        if len(stored(place)) == count and all(path.stat().st_size < 50_000 for path in kept):
            return
        shutil.rmtree(place.hub)
    raise AssertionError("the client does not use its store")


def stored(place: Place) -> list[Path]:
    """The files of the shared store."""
    return sorted(path for path in place.hub.glob("blobs/*/*") if len(path.name) == 64)


def verified(place: Place) -> Mapping[str, Any]:
    return place.follow((node_hub, "verify", {"folder": str(place.folder)}))


def removed(place: Place, model: str) -> int:
    job = {"hub": str(place.hub), "model": model}
    script = probe.PRELUDE + scripts.once(node_hub, "remove", job)
    said = scripts.look("ended\n" + place.host.run(script, timeout=60).stdout).said
    return int(said["done"]["bytes"])


def known(place: Place) -> CachedModel:
    """The model as `sync` knows it: with hashes, if need be from the files themselves."""
    model = place.model
    if not nameless(model):
        return model
    job = {"folder": str(place.folder), "commit": model.commit()}
    done = place.follow((node_hub, "identify", job))
    return identified(model, done["digests"])


def copied(source: Place, sink: Place) -> Mapping[str, Any]:
    payload = ModelPayload(MODEL, str(source.folder), manifest(known(source)), 2)
    with program(source.host, payload.serve(["127.0.0.1"], TOKEN)) as started:
        module, command, job = payload.fetch(started.said["ready"], TOKEN, None)
        return sink.follow((module, command, {**job, "folder": str(sink.folder)}))


def dangling(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_symlink() and not path.exists()]


def test_the_layouts_are_what_they_are_called(
    place: Place, request: pytest.FixtureRequest, files: dict[str, bytes]
) -> None:
    name = request.node.callspec.params["place"]
    snapshot = place.folder / "snapshots" / COMMIT
    links = [path for path in snapshot.rglob("*") if path.is_symlink()]
    assert len(links) == (0 if "no-symlinks" in name else len(files))
    assert len(stored(place)) == (3 if name == "shared" else 0)


def test_it_is_listed_as_complete_with_its_size(place: Place, files: dict[str, bytes]) -> None:
    model = place.model
    assert (model.commit(), model.faults()) == (COMMIT, ())
    assert model.size == sum(map(len, files.values()))
    seen = place.launch_reads()
    assert (seen.revision, seen.is_complete, seen.weights) == (COMMIT, True, 3)


def test_it_is_verified_and_a_bad_file_is_named(
    place: Place, request: pytest.FixtureRequest, files: dict[str, bytes]
) -> None:
    done = verified(place)
    blind = request.node.callspec.params["place"].endswith("no-list")
    assert (done["bad"], done["unknown"]) == ([], len(files) if blind else 0)
    path = (place.folder / "snapshots" / COMMIT / SHARD).resolve()
    path.chmod(0o644)
    path.write_bytes(b"q" * len(files[SHARD]))
    bad = [place.model.file_of(name) for name, _ in verified(place)["bad"]]
    assert bad == ([] if blind else [SHARD])


def test_a_copy_is_whole_and_leads_nowhere_else(
    place: Place, tmp_path: Path, files: dict[str, bytes]
) -> None:
    sink = Place(tmp_path, "spark-3")
    copied(place, sink)
    assert holds(sink.model, known(place))
    snapshot = sink.folder / "snapshots" / COMMIT
    assert {name: (snapshot / name).read_bytes() for name in files} == files
    assert dangling(sink.folder) == []
    plain = {
        path.parent for path in sink.hub.rglob("*") if path.is_file() and not path.is_symlink()
    }
    assert plain == {sink.folder / "blobs", sink.folder / "refs"}, "all in the model's own folder"
    assert sink.launch_reads().is_complete
    assert verified(sink)["bad"] == []
    assert copied(place, sink)["received"] == 0, "a second copy finds it there"


def test_a_copy_goes_on_from_a_copy(place: Place, tmp_path: Path) -> None:
    """In the next wave the first sink is a source, whose layout is another one."""
    second, third = Place(tmp_path, "spark-3"), Place(tmp_path, "spark-4")
    copied(place, second)
    payload = ModelPayload(MODEL, str(second.folder), manifest(known(place)), 2)
    with program(second.host, payload.serve(["127.0.0.1"], TOKEN)) as started:
        module, command, job = payload.fetch(started.said["ready"], TOKEN, None)
        third.follow((module, command, {**job, "folder": str(third.folder)}))
    assert third.model.complete()


def test_removing_it_frees_all_of_it(place: Place, files: dict[str, bytes]) -> None:
    assert removed(place, MODEL) == sum(map(len, files.values()))
    assert not place.folder.exists()
    assert stored(place) == []


def test_the_real_client_reads_a_copy_without_the_network(place: Place, tmp_path: Path) -> None:
    sink = Place(tmp_path, "spark-3")
    copied(place, sink)
    script = (
        "import sys; from huggingface_hub import snapshot_download as d; print(d(*sys.argv[1:]))"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(sink.hub)}
    done = subprocess.run(
        [new_client(), "-c", script, MODEL], env=env, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == sink.folder / "snapshots" / COMMIT


# The store that models share


def test_two_models_share_their_files(shared: Place) -> None:
    assert len(stored(shared)) == 4
    assert [model.complete() for model in shared.read().found] == [True, True]


def test_removing_a_model_leaves_what_others_use(shared: Place, files: dict[str, bytes]) -> None:
    own = 90_000
    freed = removed(shared, OTHER)
    assert own < freed < own + 10_000, "its own shard and its small files"
    assert len(stored(shared)) == 3
    assert shared.model.complete()
    assert verified(shared)["bad"] == []
    assert dangling(shared.hub) == []
    removed(shared, MODEL)
    assert stored(shared) == []


def test_the_real_client_finds_its_store_in_order_after_a_removal(shared: Place) -> None:
    """What it would delete itself, and what it would not: nothing is left over or amiss."""
    removed(shared, OTHER)
    script = (
        "import sys; from huggingface_hub import scan_cache_dir; "
        "from huggingface_hub.utils import _shared_blobs as s; i = scan_cache_dir(sys.argv[1]); "
        "left = s.unreferenced_shared_blobs(sys.argv[1]); "
        "print([r.repo_id for r in i.repos], list(i.warnings), left)"
    )
    done = subprocess.run(
        [new_client(), "-c", script, str(shared.hub)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"['{MODEL}'] [] {{}}"


def test_a_model_that_a_client_links_meanwhile_keeps_its_files(shared: Place) -> None:
    """Between the look at the other models and the removal: the client's list is asked again."""
    (one, *_) = stored(shared)
    late = shared.hub / "models--org--late" / "blobs"
    late.mkdir(parents=True)
    (late / ("f" * 64)).symlink_to(f"../../blobs/{one.parent.name}/{one.name}")
    with one.with_name(f"{one.name}.refs").open("a") as refs:
        refs.write(f"models--org--late/blobs/{'f' * 64}\n")
    assert store.release(shared.hub, one) == 0
    assert one.exists()


def test_a_copy_that_took_links_for_files_is_told(shared: Place, tmp_path: Path) -> None:
    """As `rsync -a` of the model's folder leaves it: every link there, no weights."""
    sink = Place(tmp_path, "spark-3")
    sink.hub.mkdir(parents=True)
    subprocess.run(["cp", "-a", str(shared.folder), str(sink.folder)], check=True)
    faults = "; ".join(sink.model.faults())
    assert "3 files are missing" in faults
    assert "3 blobs only link to the store that the cache's models share" in faults
    assert not sink.launch_reads().is_complete
    assert SHARD in {sink.model.file_of(name) for name, _ in verified(sink)["bad"]}
    copied(shared, sink)
    assert sink.model.complete()
    assert dangling(sink.folder) == []


def test_a_sink_with_a_store_of_its_own_keeps_it(shared: Place, tmp_path: Path) -> None:
    sink = Place(tmp_path, "spark-3")
    shutil.copytree(shared.cache, sink.cache, symlinks=True)
    before = [path.name for path in stored(sink)]
    assert copied(shared, sink)["received"] == 0
    assert [path.name for path in stored(sink)] == before


def test_a_pull_of_ours_onto_a_shared_store_mends_a_bad_file(
    shared: Place, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bad file is in the store: no link may be left to it, nor to nothing."""
    monkeypatch.setenv("PATH", f"{Path(new_client()).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # its storage is not played here
    path = (shared.folder / "snapshots" / COMMIT / SHARD).resolve()
    path.chmod(0o644)
    path.write_bytes(b"q" * len(files[SHARD]))
    with serving(Hub(MODEL, files)) as hub:
        job = {
            "cache": str(shared.cache), "model": MODEL, "revision": "main", "endpoint": hub.url,
            "token": "", "image": "",
        }  # fmt: skip
        with pytest.raises(CheckFailed, match="1 files came wrong"):
            shared.follow((pull, "pull", job))
        assert dangling(shared.folder) == []
        shared.follow((pull, "pull", job))
    assert shared.model.complete()
    assert (shared.folder / "snapshots" / COMMIT / SHARD).read_bytes() == files[SHARD]


@pytest.mark.parametrize("symlinks", [True, False])
@pytest.mark.parametrize("client", [old_client, new_client])
def test_a_pull_of_ours_by_either_client(
    client: Callable[[], str],
    symlinks: bool,
    tmp_path: Path,
    files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", f"{Path(client()).parent}:{os.environ['PATH']}")
    if not symlinks:
        monkeypatch.setenv("HF_HUB_DISABLE_SYMLINKS", "1")
    place = Place(tmp_path, "spark-2")
    with serving(Hub(MODEL, files)) as hub:
        job = {
            "cache": str(place.cache), "model": MODEL, "revision": "main", "endpoint": hub.url,
            "token": "", "image": "",
        }  # fmt: skip
        first = place.follow((pull, "pull", job))
        again = place.follow((pull, "pull", job))
    assert first["received"] == sum(map(len, files.values()))
    assert again["received"] == 0
    assert place.model.complete()
    assert place.launch_reads().is_complete
    assert dangling(place.folder) == []

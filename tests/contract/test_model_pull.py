"""Downloads by the real huggingface_hub client from a hub on loopback: whole, broken, refused."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.core.error import CheckFailed, Interrupted, StepFailed
from spark_cluster.transfer.node import pull
from spark_cluster.transfer.node.files import Failed
from spark_cluster.transfer.payload import Order
from tests.hub_cache import MODEL, REVISION, content, tree, write_model
from tests.hub_server import COMMIT, Hub
from tests.hub_server import running as serving

from .place import Place

pytestmark = pytest.mark.contract

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")

TOKEN = "hf_notATokenOfAnybody"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A node whose `hf` is the one beside this Python."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return Place(tmp_path, "spark-2")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub(MODEL, content())) as started:
        yield started


def order(place: Place, hub: Hub, **more: Any) -> Order:
    job = {
        "cache": str(place.cache),
        "model": MODEL,
        "revision": "main",
        "endpoint": hub.url,
        "token": hub.token,
        "image": "",
    }
    return pull, "pull", {**job, **more}


def test_a_download_is_complete_and_verified(place: Place, hub: Hub) -> None:
    done = place.follow(order(place, hub))
    assert (done["revision"], done["bad"], done["files"]) == (COMMIT, [], len(hub.files))
    assert done["received"] == sum(map(len, hub.files.values()))
    assert place.model.complete()
    snapshot = place.folder / "snapshots" / COMMIT
    assert {name: (snapshot / name).read_bytes() for name in hub.files} == hub.files


def test_a_second_download_fetches_no_file(place: Place, hub: Hub) -> None:
    place.follow(order(place, hub))
    before = dict(hub.served)
    done = place.follow(order(place, hub))
    assert hub.served == before
    assert done["received"] == 0


@pytest.mark.parametrize("container", [False, True], ids=["hf", "in an image"])
def test_a_second_copy_in_another_format_stays_on_the_hub(
    place: Place, container: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As openai/gpt-oss-120b has it: 65 GB of safetensors, 131 GB of the same again."""
    copies = {
        "original/model--00001-of-00007.safetensors": os.urandom(300_000),
        "metal/model.bin": os.urandom(300_000),
        "pytorch_model-00001-of-00002.bin": os.urandom(300_000),
    }
    kept = {**content(), "dflash/model.safetensors": os.urandom(1000), "merges.bin": b"small"}
    more = {"image": only_docker(tmp_path, monkeypatch)} if container else {}
    with serving(Hub(MODEL, {**kept, **copies})) as hub:
        done = place.follow(order(place, hub, **more))
        assert not set(hub.served) & set(copies)
    assert done["received"] == sum(map(len, kept.values()))
    assert place.model.complete()
    snapshot = place.folder / "snapshots" / COMMIT
    assert {str(p.relative_to(snapshot)) for p in snapshot.rglob("*") if p.is_file()} == set(kept)


def held_until(hub: Hub, ready: Callable[[], bool]) -> Callable[[float], bool]:
    """Stops the download once `ready`, while the hub holds its large files back."""

    def stop(_: float) -> bool:
        time.sleep(0.05)
        return ready()

    return stop


def test_a_download_that_was_stopped_goes_on_and_cleans_up(place: Place, tmp_path: Path) -> None:
    files = {**content(shards=2, size=400_000), "small.safetensors": os.urandom(90_000)}
    with serving(Hub(MODEL, files, hold_after=100_000)) as hub:

        def small_is_there() -> bool:
            path = place.folder / "snapshots" / COMMIT / "small.safetensors"
            return path.exists() and len(list((place.folder / "blobs").glob("*.incomplete"))) == 2

        with pytest.raises(Interrupted):
            place.follow(order(place, hub), held_until(hub, small_is_there))
        model = place.model
        assert model.faults() == ("there is no ref main",)
        assert "2 weight files are missing" in model.faults(COMMIT)[0]
        assert model.unfinished == (COMMIT,)
        assert list((place.folder / "blobs").glob("*.incomplete")), "the client was killed"
        hub.hold_after = None
        hub.gate.set()
        done = place.follow(order(place, hub))
        assert hub.served["small.safetensors"] == 90_000, "not downloaded again"
        assert done["received"] < sum(map(len, files.values()))
        assert place.model.complete()
        assert not list((place.folder / "blobs").glob("*.incomplete"))


@pytest.fixture
def broken_off(place: Place) -> Iterator[Hub]:
    """A hub, after a download that had every weight file but not the tokenizer when it ended."""
    files = {**content(size=50_000), "deep/er/tokenizer.json": os.urandom(400_000)}
    with serving(Hub(MODEL, files, hold_after=100_000)) as hub:
        snapshot = place.folder / "snapshots" / COMMIT

        def only_the_tokenizer_is_missing() -> bool:
            there = {str(p.relative_to(snapshot)) for p in snapshot.rglob("*") if p.is_file()}
            parts = list((place.folder / "blobs").glob("*.incomplete"))
            return len(parts) == 1 and there == files.keys() - {"deep/er/tokenizer.json"}

        with pytest.raises(Interrupted):
            place.follow(order(place, hub), held_until(hub, only_the_tokenizer_is_missing))
        hub.hold_after = None
        hub.gate.set()
        yield hub


def test_a_download_without_its_tokenizer_is_not_complete(place: Place, broken_off: Hub) -> None:
    for revision in ("main", COMMIT):
        assert not place.model.complete(revision)
        assert not place.launch_reads(revision).is_complete
    place.follow(order(place, broken_off))
    for revision in ("main", COMMIT):
        assert place.model.complete(revision)
        assert place.launch_reads(revision).is_complete
    assert not place.model.unfinished


@pytest.fixture
def old(place: Place) -> str:
    """The commit that main was before it moved on the hub; whole, and in the cache."""
    write_model(place.hub, content(), revision=REVISION)
    return REVISION


def test_a_download_that_broke_off_leaves_the_old_snapshot_in_use(
    old: str, broken_off: Hub, place: Place
) -> None:
    assert (place.model.commit(), place.model.faults()) == (old, ())
    seen = place.launch_reads()
    assert (seen.revision, seen.is_complete) == (old, True)
    place.follow(order(place, broken_off))
    assert (place.model.commit(), place.model.faults()) == (COMMIT, ())
    assert place.launch_reads().revision == COMMIT


def test_wrong_content_does_not_take_the_old_snapshots_place(
    old: str, place: Place, hub: Hub
) -> None:
    name = "model-00002-of-00003.safetensors"
    hub.wrong[name] = b"z" * len(hub.files[name])
    with pytest.raises(CheckFailed, match=name):
        place.follow(order(place, hub))
    assert (place.model.commit(), place.model.faults()) == (old, ())


def test_a_commit_is_downloaded_without_a_ref(place: Place, hub: Hub) -> None:
    place.follow(order(place, hub, revision=COMMIT))
    assert place.model.complete(COMMIT)
    assert place.model.refs == {}


def test_a_complete_model_stays_so_while_it_is_downloaded_again(place: Place, hub: Hub) -> None:
    place.follow(order(place, hub))
    seen: list[bool] = []

    def look(_: float) -> bool:
        seen.append(place.model.complete())
        return False

    place.follow(order(place, hub), look)
    assert seen
    assert all(seen)


def test_the_token_is_handed_on_and_shows_in_no_process_list(place: Place) -> None:
    seen: list[bytes] = []
    with serving(Hub(MODEL, content(), token=TOKEN, hold_after=100_000)) as hub:

        def look(_: float) -> bool:
            time.sleep(0.05)
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(path.read_bytes())
                except OSError:
                    continue
            if any(b"hf\0download" in line for line in seen):
                hub.gate.set()
            return False

        done = place.follow(order(place, hub), look)
    assert done["files"] == len(hub.files)
    assert any(b"hf\0download" in line for line in seen)
    assert not any(TOKEN.encode() in line for line in seen)


def test_content_that_is_not_what_the_hub_promised_is_refused(place: Place, hub: Hub) -> None:
    """Same size, other bytes: the client does not see it."""
    name = "model-00002-of-00003.safetensors"
    hub.wrong[name] = b"z" * len(hub.files[name])
    with pytest.raises(CheckFailed, match=f"1 files came wrong and were removed: {name}") as raised:
        place.follow(order(place, hub))
    assert raised.value.code == "MODEL001"
    assert not place.model.complete()
    hub.wrong.clear()
    place.follow(order(place, hub))
    assert place.model.complete()


@pytest.mark.parametrize(
    ("token", "job", "code", "says"),
    [
        (TOKEN, {"token": ""}, "MODEL005", "org/tiny-model is gated"),
        ("", {"model": "org/nothing"}, "MODEL005", "org/nothing is not on the hub"),
        ("", {"endpoint": "http://127.0.0.1:9"}, "MODEL004", "127.0.0.1:9 does not answer"),
    ],
)
def test_refusals_say_what_to_do(
    token: str, job: dict[str, str], code: str, says: str, place: Place
) -> None:
    with serving(Hub(MODEL, content(), token)) as hub, pytest.raises(StepFailed) as raised:
        place.follow(order(place, hub, **job))
    assert says in raised.value.message
    assert raised.value.code == code
    assert raised.value.remedy


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Whatever is asked of this address, it says these bytes and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_one() -> None:
            stream, _ = listener.accept()
            with stream:
                stream.recv(65536)
                stream.sendall(answer)

        thread = threading.Thread(target=answer_one, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def http(body: bytes, length: int | None = None) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (length or len(body), body)


def hub_says(*files: Any) -> bytes:
    return http(json.dumps({"sha": COMMIT, "siblings": files}).encode())


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        http(b'{"sha": "', 500),
        http(b"<html>The proxy wants you to log in</html>"),
        http(b"\xff\xfe"),
        http(b"[]"),
        http(b"{}"),
        hub_says({"rfilename": "config.json"}),
        hub_says({"rfilename": "config.json", "size": None, "blobId": None}),
        hub_says({"rfilename": "config.json", "size": 5, "blobId": "of another kind"}),
        hub_says({"rfilename": "model.safetensors", "lfs": {"size": 5}}),
        hub_says("config.json"),
    ],
)
def test_an_answer_that_is_not_a_hubs_is_told(answer: bytes) -> None:
    """A proxy, or a mirror that does not know `blobs`."""
    with answering(answer) as url, pytest.raises(Failed) as raised:
        pull.wanted_of(url, MODEL, "main", "")
    assert str(raised.value) == (
        f"{url} does not answer as a hub: its answer has no sizes and hashes"
    )
    assert raised.value.reason == "offline"


@pytest.mark.parametrize("token", [f"{TOKEN}\r", f"{TOKEN}\n", f"{TOKEN}\u2026"])
def test_a_token_that_cannot_be_sent_is_not_printed(token: str, hub: Hub) -> None:
    with pytest.raises(Failed, match="cannot be asked") as raised:
        pull.wanted_of(hub.url, MODEL, "main", token)
    assert TOKEN not in str(raised.value)
    assert raised.value.reason == "offline"


class HugeHub(Hub):
    """A hub whose files are larger than any disk, or say so."""

    def entry(self, path: str) -> dict[str, Any]:
        return {**super().entry(path), "size": 1 << 50}


def test_a_disk_without_room_is_told_before_the_download(place: Place) -> None:
    says = r"\d+ bytes are needed and \d+ are free below"
    hub = HugeHub(MODEL, content())
    with serving(hub), pytest.raises(StepFailed, match=says) as raised:
        place.follow(order(place, hub))
    assert raised.value.code == "MODEL007"
    assert hub.served == {}


def test_a_host_without_a_client_or_image_is_told(
    place: Place, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(StepFailed, match="neither hf nor huggingface-cli") as raised:
        place.follow(order(place, hub))
    assert raised.value.code == "MODEL006"
    assert not place.folder.exists(), "nothing was made"


#: Runs what docker would run, with the folder that would be mounted.
DOCKER = """\
#!{python}
import os, subprocess, sys
words = sys.argv[1:]
with open("{log}", "a") as log:
    log.write(" ".join(words) + "\\n")
if words[:2] == ["image", "inspect"]:
    sys.exit(0 if words[2] == "engine:1" else 1)
if words[0] == "run":
    source, target = words[words.index("-v") + 1].split(":")
    file = words[words.index("--env-file") + 1]
    assert os.stat(file).st_mode & 0o077 == 0
    lines = open(file).read().splitlines()
    inside = dict(line.split("=", 1) for line in lines)
    assert inside["HF_HOME"] == target
    inside["HF_HOME"] = source
    script = words[words.index("-c"):]
    sys.exit(subprocess.run([sys.executable, *script], env={{**os.environ, **inside}}).returncode)
"""


def only_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A node without `hf`; the image that its docker has."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "docker").write_text(DOCKER.format(python=sys.executable, log=tmp_path / "log"))
    (bin_ / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    return "engine:1"


def test_without_a_client_the_download_runs_inside_the_image(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = only_docker(tmp_path, monkeypatch)
    with serving(Hub(MODEL, content(), token=TOKEN)) as hub:
        done = place.follow(order(place, hub, image=image))
    assert done["files"] == len(hub.files)
    assert place.model.complete()
    (run,) = [line for line in (tmp_path / "log").read_text().splitlines() if line[:3] == "run"]
    assert f"--user {os.getuid()}:{os.getgid()}" in run
    assert f"-v {place.cache}:/cache" in run
    assert TOKEN not in run


def test_a_copy_of_a_download_is_the_same(place: Place, hub: Hub, tmp_path: Path) -> None:
    """What the client wrote is what our copies understand."""
    from spark_cluster.runner.remote_program import program
    from spark_cluster.transfer.cache import holds, manifest
    from spark_cluster.transfer.payload import ModelPayload

    place.follow(order(place, hub))
    other = Place(tmp_path, "spark-3")
    payload = ModelPayload(MODEL, str(place.folder), manifest(place.model), 2)
    with program(place.host, payload.serve(["127.0.0.1"], "a" * 64)) as started:
        module, command, job = payload.fetch(started.said["ready"], "a" * 64, None)
        other.follow((module, command, {**job, "folder": str(other.folder)}))
    assert holds(other.model, place.model)
    copied = tree(other.folder)
    assert copied == {name: copied[name] for name in tree(place.folder) if name in copied}
    assert {name for name in tree(place.folder) if name not in copied} == {f"trees/{COMMIT}.json"}

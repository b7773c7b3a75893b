"""The programs of transfer/node on this machine, through a real shell: copies, whole and broken."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.core.error import CheckFailed, Interrupted, StepFailed
from spark_cluster.facts import probe
from spark_cluster.facts.models import models
from spark_cluster.runner.remote_program import look, program
from spark_cluster.transfer import scripts
from spark_cluster.transfer.cache import manifest
from spark_cluster.transfer.node import hub
from spark_cluster.transfer.node.files import PARTIAL
from spark_cluster.transfer.node.streams import TOKEN_BYTES
from spark_cluster.transfer.payload import ImagePayload, ModelPayload, Order
from tests.hub_cache import MODEL, REVISION, content, tree, write_model

from .place import Place
from .sshd_server import Server, eventually, running, temporary_user

pytestmark = pytest.mark.contract

TOKEN = "5" * TOKEN_BYTES


@pytest.fixture
def places(tmp_path: Path) -> tuple[Place, Place]:
    return Place(tmp_path, "spark-2"), Place(tmp_path, "spark-3")


@pytest.fixture
def serving(places: tuple[Place, Place]) -> Iterator[Callable[..., tuple[ModelPayload, Order]]]:
    """Starts the source's server; gives what to fetch and fills in where."""
    with ExitStack() as stack:

        def serve(token: str = TOKEN, **options: Any) -> tuple[ModelPayload, Order]:
            source, sink = places
            what = manifest(source.model)
            payload = ModelPayload(MODEL, str(source.folder), what, 3, **options)
            order = payload.serve(["127.0.0.1"], token)
            started = stack.enter_context(program(source.host, order))
            module, command, job = payload.fetch(started.said["ready"], TOKEN, None)
            return payload, (module, command, {**job, "folder": str(sink.folder)})

        yield serve


def test_a_copy_is_the_same_and_read_as_complete(
    places: tuple[Place, Place], serving: Callable[..., Any]
) -> None:
    source, sink = places
    files = content()
    write_model(source.hub, files)
    _, order = serving()
    done = sink.follow(order)
    assert tree(sink.folder) == tree(source.folder)
    assert done["received"] == sum(len(data) for data in files.values())
    assert sink.model.complete()
    assert done["usage"]["cpu"] > 0


def test_a_second_copy_moves_nothing(
    places: tuple[Place, Place], serving: Callable[..., Any]
) -> None:
    source, sink = places
    write_model(source.hub, content())
    _, order = serving()
    sink.follow(order)
    before = {path: path.stat().st_mtime_ns for path in sink.folder.rglob("*")}
    done = sink.follow(order)
    assert done["received"] == 0
    assert {path: path.stat().st_mtime_ns for path in (sink.folder / "blobs").glob("*")} == {
        path: when for path, when in before.items() if path.parent.name == "blobs"
    }


def slow(wanted: Path) -> Callable[[float], bool]:
    """Stops a fetch as soon as something of `wanted` is there."""

    def stop(_: float) -> bool:
        time.sleep(0.01)
        return any(path.stat().st_size for path in wanted.glob(f"*{PARTIAL}"))

    return stop


def test_a_copy_that_was_killed_goes_on_where_it_was(
    places: tuple[Place, Place], serving: Callable[..., Any]
) -> None:
    """The source is stopped in the middle of the files, so that the sink hangs there."""
    source, sink = places
    write_model(source.hub, content(shards=2, size=60_000_000))
    _, order = serving()
    with program(sink.host, order) as started:
        parts = sink.folder / "blobs"
        eventually(lambda: [p for p in parts.glob(f"*{PARTIAL}") if p.stat().st_size > 2_000_000])
        os.kill(started.pid, signal.SIGKILL)
        eventually(lambda: not running(started.pid))
    left = sum(path.stat().st_size for path in parts.glob(f"*{PARTIAL}"))
    assert left
    assert not (sink.folder / "refs").exists(), "refs come last"
    assert not sink.model.complete()
    done = sink.follow(order)
    assert done["there"] >= left
    assert done["received"] + done["there"] == manifest(source.model).size
    assert tree(sink.folder) == tree(source.folder)


def test_being_told_to_stop_ends_the_program_and_keeps_the_parts(
    places: tuple[Place, Place], serving: Callable[..., Any]
) -> None:
    source, sink = places
    write_model(source.hub, content(shards=2, size=80_000_000))
    _, order = serving()
    before = set(Path("/tmp").glob("spark-cluster-transfer.*"))
    with pytest.raises(Interrupted):
        sink.follow(order, slow(sink.folder / "blobs"))
    assert not (sink.folder / "refs").exists()
    assert set(Path("/tmp").glob("spark-cluster-transfer.*")) == before


def test_a_damaged_part_is_fetched_from_its_beginning(
    places: tuple[Place, Place], serving: Callable[..., Any]
) -> None:
    source, sink = places
    write_model(source.hub, content())
    blob = max((source.folder / "blobs").glob("*"), key=lambda path: path.stat().st_size)
    (sink.folder / "blobs").mkdir(parents=True)
    (sink.folder / "blobs" / (blob.name + PARTIAL)).write_bytes(b"x" * 1000)
    _, order = serving()
    done = sink.follow(order)
    assert done["there"] == 0
    assert tree(sink.folder) == tree(source.folder)


def test_a_corrupt_source_is_refused_by_name(
    places: tuple[Place, Place], serving: Callable[..., Any]
) -> None:
    source, sink = places
    write_model(source.hub, content())
    blob = max((source.folder / "blobs").glob("*"), key=lambda path: path.stat().st_size)
    with blob.open("r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    _, order = serving()
    with pytest.raises(CheckFailed, match=f"blobs/{blob.name} is corrupt") as raised:
        sink.follow(order)
    assert raised.value.code == "MODEL001"
    assert not (sink.folder / "blobs" / blob.name).exists()
    assert not (sink.folder / "blobs" / (blob.name + PARTIAL)).exists()
    assert not (sink.folder / "refs").exists()


def test_a_disk_without_room_is_told_before_anything_is_copied(
    places: tuple[Place, Place], serving: Callable[..., Any]
) -> None:
    source, sink = places
    write_model(source.hub, content())
    _, (module, command, job) = serving()
    huge = [{**file, "size": 1 << 62} for file in job["wanted"]]
    says = r"\d+ bytes are needed and \d+ are free below"
    with pytest.raises(StepFailed, match=says) as raised:
        sink.follow((module, command, {**job, "wanted": huge}))
    assert raised.value.code == "MODEL007"
    assert "spark-cluster model rm" in raised.value.remedy
    assert tree(sink.folder) == {}


@pytest.mark.parametrize("deep", [True, False])
def test_only_a_deep_copy_looks_into_what_is_there(
    deep: bool, places: tuple[Place, Place], serving: Callable[..., Any]
) -> None:
    source, sink = places
    files = content()
    write_model(source.hub, files)
    write_model(sink.hub, files)
    rotten = sink.folder / "snapshots" / REVISION / "model-00002-of-00003.safetensors"
    rotten.resolve().write_bytes(b"y" * rotten.stat().st_size)
    _, order = serving(deep=deep)
    done = sink.follow(order)
    assert done["received"] == (len(files[rotten.name]) if deep else 0)
    assert (rotten.read_bytes() == files[rotten.name]) is deep
    assert ("was corrupt" in str(sink.events)) is deep


def test_a_stranger_without_the_token_gets_nothing(
    places: tuple[Place, Place], serving: Callable[..., Any]
) -> None:
    source, sink = places
    write_model(source.hub, content())
    _, (module, command, job) = serving()
    with socket.create_connection(tuple(job["peers"][0]), 10) as stranger:
        stranger.sendall(b"6" * TOKEN_BYTES)
        assert stranger.recv(1) == b""
    with pytest.raises(StepFailed, match="it closed the connection") as raised:
        sink.follow((module, command, {**job, "token": "7" * TOKEN_BYTES}))
    assert raised.value.code == "MODEL003"


def test_a_file_that_vanished_from_the_source_is_named(
    places: tuple[Place, Place], serving: Callable[..., Any]
) -> None:
    source, sink = places
    write_model(source.hub, content())
    _, order = serving()
    blob = max((source.folder / "blobs").glob("*"), key=lambda path: path.stat().st_size)
    blob.unlink()
    with pytest.raises(StepFailed, match=f"{blob.name} cannot be read"):
        sink.follow(order)


def test_an_address_that_is_not_the_nodes_is_told(places: tuple[Place, Place]) -> None:
    source, _ = places
    write_model(source.hub, content())
    payload = ModelPayload(MODEL, str(source.folder), manifest(source.model), 2)
    with (
        pytest.raises(StepFailed, match=r"cannot listen on 192\.0\.2\.1") as raised,
        program(source.host, payload.serve(["192.0.2.1"], TOKEN)),
    ):
        pass
    assert raised.value.code == "MODEL003"


def test_a_closed_port_is_told(places: tuple[Place, Place]) -> None:
    source, sink = places
    write_model(source.hub, content())
    payload = ModelPayload(MODEL, str(sink.folder), manifest(source.model), 2)
    with pytest.raises(StepFailed, match=r"no connection to 127\.0\.0\.1 port 1:"):
        sink.follow(payload.fetch([("127.0.0.1", 1)], TOKEN, None))


def test_the_server_ends_with_the_connection(places: tuple[Place, Place]) -> None:
    source, _ = places
    write_model(source.hub, content())
    payload = ModelPayload(MODEL, str(source.folder), manifest(source.model), 2)
    with program(source.host, payload.serve(["127.0.0.1"], TOKEN)) as started:
        assert look(source.host, started).alive
        pid, folder = started.pid, Path(started.folder)
        assert (folder / "job.json").stat().st_mode & 0o077 == 0
        token = (folder / "job.json").read_text()
        assert TOKEN in token
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert TOKEN.encode() not in command
    eventually(lambda: not running(pid))
    eventually(lambda: not folder.exists())


# Through SSH


@pytest.fixture
def by_ssh(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ssh spark-2` leads here, as `spark-cluster mesh` sets it up between nodes."""
    real = shutil.which("ssh")
    (tmp_path / "bin").mkdir()
    (tmp_path / "known").write_text(server.host_key())
    (tmp_path / "config").write_text(
        f"Host spark-2\n HostName 127.0.0.1\n Port {server.port}\n IdentitiesOnly yes\n"
        f" IdentityFile {server.client_key}\n UserKnownHostsFile {tmp_path}/known\n"
    )
    ssh = tmp_path / "bin/ssh"
    ssh.write_text(f'#!/bin/sh\nexec {real} -F {tmp_path}/config "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")


def test_an_encrypted_copy_goes_through_ssh(
    places: tuple[Place, Place],
    serving: Callable[..., Any],
    by_ssh: None,
) -> None:
    source, sink = places
    write_model(source.hub, content())
    _, (module, command, job) = serving()
    sink.follow((module, command, {**job, "through": "spark-2"}))
    assert tree(sink.folder) == tree(source.folder)


def test_what_ssh_says_is_told(
    places: tuple[Place, Place], serving: Callable[..., Any], by_ssh: None, tmp_path: Path
) -> None:
    source, sink = places
    write_model(source.hub, content())
    _, (module, command, job) = serving()
    (tmp_path / "known").write_text("")
    with pytest.raises(StepFailed, match=r"through ssh to spark-2: Host key verif") as raised:
        sink.follow((module, command, {**job, "through": "spark-2"}))
    assert raised.value.code == "MODEL003"


@pytest.fixture
def far_user(
    server: Server, may_make_users: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The home of the SSH user, for whom alone `ssh spark-2` leads here; the programs are root's,
    as after sudo."""
    home = server.folder / "far"
    (home / ".ssh").mkdir(parents=True)
    with temporary_user("ALL=(ALL) NOPASSWD: ALL", home) as user:
        shutil.copy(server.client_key, home / ".ssh/key")
        (home / ".ssh/known_hosts").write_text(server.host_key())
        (home / ".ssh/config").write_text(
            f"Host spark-2\n HostName 127.0.0.1\n Port {server.port}\n IdentitiesOnly yes\n"
            " IdentityFile ~/.ssh/key\n"
        )
        for path in (home, *home.rglob("*")):
            shutil.chown(path, user.name)
        monkeypatch.setenv("SUDO_USER", user.name)
        yield home


#: Docker's two commands; what was loaded, and by whom, is in the folder @.
SAVE_AND_LOAD = """\
#!/bin/sh
case $1 in
  save) echo "the image $2" ;;
  load) id -u > @/who; cat > @/loaded ;;
esac
"""


def test_an_encrypted_image_comes_by_the_users_ssh_and_is_loaded_by_root(
    places: tuple[Place, Place], far_user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, sink = places
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text(SAVE_AND_LOAD.replace("@", str(tmp_path)))
    (tmp_path / "bin/docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    payload = ImagePayload("engine:1", 5)
    with program(source.host, payload.serve(["127.0.0.1"], TOKEN)) as started:
        sink.follow(payload.fetch(started.said["ready"], TOKEN, "spark-2"))
    assert (tmp_path / "loaded").read_text() == "the image engine:1\n"
    assert (tmp_path / "who").read_text() == "0\n"


# The cache


def test_verify_names_each_bad_blob(places: tuple[Place, Place]) -> None:
    source, _ = places
    write_model(source.hub, content())
    order = (hub, "verify", {"folder": str(source.folder)})
    good = source.follow(order)
    assert (good["bad"], good["files"]) == ([], 6)
    blobs = sorted((source.folder / "blobs").glob("*"))
    by_kind = {len(blob.name): blob for blob in blobs}
    for blob in by_kind.values():
        data = blob.read_bytes()
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    bad = source.follow(order)["bad"]
    assert {path for path, _ in bad} == {f"blobs/{blob.name}" for blob in by_kind.values()}
    assert set(by_kind) == {40, 64}, "both kinds of names"


def test_several_caches_are_read_at_once_and_each_folder_once(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    one, other = places
    write_model(one.hub, content())
    write_model(other.hub, content(), model="org/other")
    (tmp_path / "linked").symlink_to(one.cache)
    folders = (one.cache, tmp_path / "linked", f"{other.cache}/", tmp_path / "nothing")
    fact = models(*map(str, folders))
    assert [(model.name, model.cache) for model in one.host.read([fact])[fact].found] == [
        (MODEL, str(one.cache)),
        ("org/other", str(other.cache)),
    ]


def test_remove_leaves_the_others_and_what_they_share(places: tuple[Place, Place]) -> None:
    source, _ = places
    write_model(source.hub, content())
    other = write_model(source.hub, content(), model="org/other")
    store = source.hub / "blobs" / "ab"
    store.mkdir(parents=True)
    both, mine = "ab" + "0" * 62, "ab" + "1" * 62
    for name, folders in {both: (source.folder, other), mine: (source.folder,)}.items():
        (store / name).write_bytes(b"shared")
        (store / f"{name}.refs").write_text("")
        for folder in folders:
            (folder / "blobs" / name).symlink_to(f"../../blobs/ab/{name}")
    (source.hub / ".locks" / source.folder.name).mkdir(parents=True)
    before = tree(other)
    job = {"hub": str(source.hub), "model": MODEL}
    script = probe.PRELUDE + scripts.once(hub, "remove", job)
    said = scripts.look("ended\n" + source.host.run(script, timeout=60).stdout).said
    assert said["done"]["bytes"] > 900_000
    assert not source.folder.exists()
    assert not list(source.hub.glob(".removed*")) and not list((source.hub / ".locks").glob("*"))
    assert tree(other) == before
    kept = [both, f"{both}.refs", f"{mine}.lock"]
    assert sorted(path.name for path in store.glob("*")) == kept
    said = scripts.look("ended\n" + source.host.run(script, timeout=60).stdout).said
    assert said["reason"] == "missing"


def test_a_node_without_python_says_so(places: tuple[Place, Place], tmp_path: Path) -> None:
    source, _ = places
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "cat", "mktemp", "rm", "id", "getent", "cut", "timeout"):
        (bare / name).symlink_to(shutil.which(name) or name)
    order = (hub, "list", {"hub": str(source.hub)})
    line = f"PATH={bare}\n" + probe.PRELUDE + scripts.held(*order)
    held = source.host.open.hold(line)
    assert held.first_line == "failed no-python"
    held.release()

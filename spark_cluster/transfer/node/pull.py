"""Download a model into this node's cache with huggingface_hub, and hash what came.

The client is the node's own `hf`, or the one in a container image. What the hub says of the model
comes first: it tells whether there is room, how far the download is, and what it must hash to.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from http.client import HTTPException, InvalidURL
from pathlib import Path
from typing import Any
from urllib import error, parse, request

from spark_cluster.transfer.node import files, hub, store
from spark_cluster.transfer.node.files import GIT, SHA256, Failed, File, report

#: Where the cache is inside a container.
_INSIDE = "/cache"
#: Runs inside the image: the call is the same in every version of the library.
_DOWNLOAD = (
    "import sys; from huggingface_hub import snapshot_download as d; "
    "d(sys.argv[1], revision=sys.argv[2], allow_patterns=sys.argv[3:] or None)"
)
#: What a model with safetensors has a second time in another format: openai/gpt-oss-120b is 196 GB
#: with its original/ and metal/, and 65 GB without. No engine of ours reads any of it then.
_COPIES = (
    "original/*", "metal/*", "onnx/*", "openvino/*", "coreml/*", "pytorch_model*.bin", "*.pth",
    "tf_model*.h5", "flax_model*.msgpack", "rust_model.ot", "*.onnx", "*.gguf",
)  # fmt: skip
#: What the hub's X-Error-Code means for us.
_REFUSALS = {
    "GatedRepo": ("gated", "is gated: its owner must let you in"),
    "RepoNotFound": ("unknown", "is not on the hub, or is private"),
    "RevisionNotFound": ("unknown", "has no such revision"),
}


def wanted_of(endpoint: str, model: str, revision: str, token: str) -> tuple[str, list[File]]:
    """The commit that a revision is, and its files by their path in the repository."""
    name = f"{model}/revision/{parse.quote(revision, safe='')}"
    try:
        asked = request.Request(f"{endpoint}/api/models/{name}?blobs=true")
        if token:
            asked.add_header("Authorization", f"Bearer {token}")
        with request.urlopen(asked, timeout=30) as answer:
            text = answer.read()
    except error.HTTPError as refused:
        reason, why = _REFUSALS.get(
            refused.headers.get("X-Error-Code", ""),
            ("unknown", f"cannot be had from {endpoint}: HTTP {refused.code}"),
        )
        raise Failed(reason, f"{model} {why}") from None
    except OSError as failed:
        raise Failed("offline", f"{endpoint} does not answer as a hub: {failed}") from None
    except (ValueError, InvalidURL):  # whose text may hold the token
        why = "it is no address, or the token has characters that cannot be sent"
        raise Failed("offline", f"{endpoint} cannot be asked: {why}") from None
    except HTTPException:
        raise _no_hub(endpoint) from None
    try:
        said = json.loads(text)
        return said["sha"], [_file(entry) for entry in said["siblings"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _no_hub(endpoint) from None


def needed(found: list[File]) -> list[File]:
    """The files that an engine may read: all, or those that are no copies in another format."""
    if not any(fnmatch(file.path, "model*.safetensors") for file in found):
        return found
    return [file for file in found if not any(fnmatch(file.path, each) for each in _COPIES)]


def _no_hub(endpoint: str) -> Failed:
    why = "its answer has no sizes and hashes"
    return Failed("offline", f"{endpoint} does not answer as a hub: {why}")


def _file(entry: dict[str, Any]) -> File:
    """Raises KeyError, TypeError, AttributeError or ValueError for what is no file of a hub."""
    lfs = entry.get("lfs")
    kind = SHA256 if lfs else GIT
    size, digest = (lfs["size"], lfs["sha256"]) if lfs else (entry["size"], entry["blobId"])
    if files.kind_of(digest) != kind:
        raise ValueError(f"{digest!r} is no {kind} hash")
    return File(entry["rfilename"], int(size), kind, digest)


class Download:
    """The client's process, and how far it is."""

    def __init__(self, folder: Path, commit: str, wanted: list[File]) -> None:
        self.blobs = folder / "blobs"
        self.snapshot = folder / "snapshots" / commit
        self.wanted = wanted
        self.sizes = {file.digest: file.size for file in wanted}
        self.total = sum(self.sizes.values())
        self.before = self.present()
        self.process: subprocess.Popen[bytes] | None = None
        self.container = ""

    def present(self) -> int:
        """Bytes that are there, also of files that are not whole."""
        found: dict[str, int] = {}
        for path in self.blobs.glob("*"):
            digest = path.name.partition(".")[0]
            with contextlib.suppress(OSError):
                size = min(path.stat().st_size, self.sizes.get(digest, 0))
                found[digest] = max(found.get(digest, 0), size)
        for file in self.wanted:  # without symlinks they are moved there
            if files.has(self.snapshot / file.path, file.size):
                found[file.digest] = file.size
        return sum(found.values())

    def run(self, command: list[str], environment: dict[str, str]) -> None:
        """Run the client to its end. Raises Failed with its last words."""
        with tempfile.TemporaryFile() as said:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                env={**os.environ, **environment}, start_new_session=True,
            )  # fmt: skip
            while self.process.poll() is None:
                report(phase="download", bytes=self.present(), total=self.total)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(1)
            if self.process.returncode:
                said.seek(0)
                status = f"exit status {self.process.returncode}"
                last = files.last_lines(said.read(), 4) or status
                raise Failed("client", f"{command[0]} failed: {last}")

    def end(self) -> None:
        """Stop the client; files that are whole stay, and some clients go on inside a file."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            if self.container:
                subprocess.run(["docker", "rm", "-f", self.container], capture_output=True)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(4)
                return
            os.killpg(self.process.pid, signal.SIGKILL)


def pull(cache: str, model: str, revision: str, endpoint: str, token: str, image: str) -> None:
    """Download a revision of a model into `cache`. Reports progress, then what was done.

    The client is told the commit, so that it writes no ref: until every file has been verified,
    the revision is what it was before.
    """
    root = files.home(cache)
    folder = files.model_folder(root / "hub", model)
    token = token or _stored_token()
    endpoint = _endpoint(endpoint)
    commit, all_of_it = wanted_of(endpoint, model, revision, token)
    wanted = needed(all_of_it)
    only = [file.path for file in wanted] if wanted != all_of_it else []
    client = _client()
    if not client and not _has_image(image):
        raise Failed("no-client", "neither hf nor huggingface-cli is installed here" +
                     (f", and {image} is not here either" if image else ""))  # fmt: skip
    files.give_to_user(root / "hub" / ".locks" / folder.name)
    files.give_to_user(folder / "blobs")
    download = Download(folder, commit, wanted)
    files.need_room(root, download.total - download.before)
    at = [File(f"snapshots/{commit}/{f.path}", f.size, f.kind, f.digest) for f in wanted]
    if not all(files.has(folder / file.path, file.size) for file in at):
        hub.begin(folder, commit, [file.digest for file in wanted])
    files.give_to_user(folder)

    def stop(*_: object) -> None:
        download.end()
        os._exit(143)

    signal.signal(signal.SIGTERM, stop)
    environment = {
        "NO_COLOR": "1",
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        # A model's folder then holds all of its own files, also for clients that know no store.
        "HF_HUB_DISABLE_SHARED_BLOBS": "1",
        **({"HF_TOKEN": token} if token else {}),
    }
    began = time.monotonic()
    if client:
        files.become_user()
        environment["HF_HUB_CACHE"] = str(root / "hub")
        download.run([client, "download", model, *only, "--revision", commit], environment)
    else:
        download.container = f"spark-cluster-pull-{secrets.token_hex(4)}"
        with _environment_file({**environment, "HF_HOME": _INSIDE, "HOME": "/tmp"}) as path:
            download.run(_docker(download.container, root, path, image, [model, commit, *only]), {})
        files.become_user()
    seconds = time.monotonic() - began
    checked = hub.check(folder, at)
    _drop(folder, checked["bad"])
    hub.drop_leftovers(folder)
    for file in at:
        files.to_disk(folder / file.path)
    hub.end(folder, commit)
    if revision != commit:
        files.put_text(folder / "refs" / revision, commit)
    got = download.total - download.before
    report(done={**checked, "revision": commit, "received": got, "seconds": seconds})


def size(cache: str, model: str, revision: str, endpoint: str, token: str, image: str) -> None:
    """Report the bytes of a revision, and those of them that are not in `cache` yet. Raises Failed
    as the download would."""
    del image
    folder = files.model_folder(files.home(cache) / "hub", model)
    commit, found = wanted_of(_endpoint(endpoint), model, revision, token or _stored_token())
    download = Download(folder, commit, needed(found))
    report(done={"bytes": download.total - download.before, "total": download.total})


def _endpoint(given: str) -> str:
    return (given or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _drop(folder: Path, bad: list[list[str]]) -> None:
    """Remove what is not what the hub says, so that the next try downloads it. Raises Failed."""
    for name, _ in bad:
        path = folder / name
        while path.is_symlink():  # the snapshot's, then maybe the blob's into the shared store
            after = store.target_of(path)
            path.unlink()
            path = after
        path.unlink(missing_ok=True)
    if bad:
        named = "; ".join(f"{Path(name).name}: {why}" for name, why in bad[:3])
        raise Failed("corrupt", f"{len(bad)} files came wrong and were removed: {named}")


def _client() -> str:
    """The hub's command line client of this node: hf, or as it was called before."""
    path = f"{os.environ.get('PATH', '')}:{files.user().pw_dir}/.local/bin"
    return shutil.which("hf", path=path) or shutil.which("huggingface-cli", path=path) or ""


def _has_image(image: str) -> bool:
    if not image or not shutil.which("docker"):
        return False
    return not subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode


def _stored_token() -> str:
    """What `hf auth login` left on this node."""
    try:
        path = Path(files.user().pw_dir) / ".cache/huggingface/token"
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


@contextlib.contextmanager
def _environment_file(environment: dict[str, str]) -> Iterator[str]:
    """A file for docker's --env-file that only its owner reads: a token is no argument."""
    with tempfile.NamedTemporaryFile("w", prefix="spark-cluster-env-") as file:
        file.write("".join(f"{key}={value}\n" for key, value in environment.items()))
        file.flush()
        yield file.name


def _docker(name: str, cache: Path, environment: str, image: str, words: list[str]) -> list[str]:
    """Inside the image as the SSH user, so that what it writes is theirs."""
    owner = f"{files.user().pw_uid}:{files.user().pw_gid}"
    return [
        "docker", "run", "--rm", "--init", "--name", name, "--network", "host",
        "--user", owner, "--env-file", environment, "-v", f"{cache}:{_INSIDE}",
        "--entrypoint", "python3", image, "-c", _DOWNLOAD, *words,
    ]  # fmt: skip


if __name__ == "__main__":
    files.main({"pull": pull, "size": size})

"""The nodes' user-mode kernel: the distribution's own source, a lean configuration, a small patch.

Cached by its configuration: a kernel that works stays until what we ask of it changes.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from spark_cluster.core.error import LabError
from spark_cluster.lab import layers, process, requirements
from spark_cluster.lab.apt import Apt
from spark_cluster.lab.layers import Say
from spark_cluster.lab.phases import phase
from spark_cluster.lab.sources import Mirror
from spark_cluster.lab.uml.run import SHM, new_namespace

_HERE = Path(__file__).parent
CONFIG = _HERE / "kernel.config"
PATCH = _HERE / "kernel.patch"
EXCLUDE = _HERE / "kernel.exclude"
"""Three quarters of the source, which take longer to unpack than to leave out: drivers of what a
user-mode machine has not, other architectures. Of what is not compiled here only the files are
read that say so."""

_COMPILER = """#!/bin/sh
# -O1 takes a quarter less time than the kernel's own -O2, which it follows here. A few files count
# on what only -O2 finds out while it compiles.
gcc "$@" -O1 2>/dev/null || exec gcc "$@"
"""

_ATTEMPTS = 2
"""How many sources are tried, the newest first: each costs minutes."""


class Cancelled(Exception):
    """Nobody needs the kernel any more."""


@dataclass(frozen=True)
class Kernel:
    folder: Path

    @property
    def program(self) -> Path:
        return self.folder / "linux"

    @property
    def modules(self) -> Path:
        """A tar of usr/lib/modules, which a node unpacks at its first boot."""
        return self.folder / "modules.tar"

    @property
    def release(self) -> str:
        return (self.folder / "release").read_text().strip()


def key() -> str:
    return layers.digest(CONFIG.read_text(), PATCH.read_text(), _COMPILER)


def cached() -> Kernel | None:
    folder = layers.existing("kernel", key())
    return Kernel(folder) if folder else None


def newest_first(packages: Sequence[str]) -> list[str]:
    """linux-source packages by their version; the one without a version is only a pointer."""
    found = []
    for name in packages:
        version = re.fullmatch(r"linux-source-(\d+(?:\.\d+)*)", name)
        if version:
            found.append((tuple(map(int, version[1].split("."))), name))
    return [name for _, name in sorted(found, reverse=True)]


def failed() -> str | None:
    """Why this kernel could not be built the last time it was tried here."""
    note = layers.noted("kernel")
    return str(note.get("reason")) if note.get("key") == _tried() else None


def _tried() -> str:
    """What a failure is a failure of: a release that builds it in another way tries again."""
    return layers.digest(key(), Path(__file__).read_text())


@contextmanager
def beside(mirror: Mirror, say: Say, *, early: bool, again: bool) -> Iterator[Callable[[], Kernel]]:
    """A way to get the kernel, which is built in the background if `early`; what is still being
    built at the end is not needed."""
    builder = Builder()
    with ThreadPoolExecutor(max_workers=1) as pool:
        jobs: list[Future[Kernel]] = []

        def begin() -> None:
            jobs.append(pool.submit(builder.ensure, mirror, say, again=again))

        def kernel() -> Kernel:
            if not jobs:
                begin()
            return jobs[0].result()

        if early:
            begin()
        try:
            yield kernel
        finally:
            builder.cancel()


class Builder:
    """Builds the kernel; `cancel`, from another thread, ends it early."""

    def __init__(self) -> None:
        self._cancelled = False
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def cancel(self) -> None:
        with self._turn:
            self._cancelled = True
            if self._child is not None and self._child.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(self._child.pid, signal.SIGTERM)

    def ensure(self, mirror: Mirror, say: Say, *, again: bool = False) -> Kernel:
        """The kernel from the cache, or built now; `again`: even where that did not work."""

        def build(work: Path) -> None:
            with phase("kernel", "compiles user-mode Linux, beside the rest", say):
                self._build(mirror, work, say)

        reason = None if again or cached() else failed()
        if reason:
            raise LabError(reason, remedy="`spark-cluster lab up --accel uml` tries again")
        try:
            return Kernel(layers.layer("kernel", key(), build, say))
        except LabError as error:
            said = (error.stderr or "").split("\n")
            layers.note("kernel", {"key": _tried(), "reason": error.message, "log": said})
            raise

    def _build(self, mirror: Mirror, work: Path, say: Say) -> None:
        lacking = requirements.missing_to_compile()
        if lacking:
            names = " ".join(package.name for package in lacking)
            raise LabError(
                f"this machine lacks {names}, which compile its kernel",
                remedy=f"sudo apt-get install --no-install-recommends {names}",
            )
        apt = Apt(mirror, work / "apt")
        apt.update()
        packages = newest_first(apt.names("^linux-source-[0-9.]+$"))
        if not packages:
            raise LabError(
                f"{mirror.suite} has no linux-source package",
                remedy="name another suite: spark-cluster lab up --suite NAME",
            )
        for i, package in enumerate(packages[:_ATTEMPTS], 1):
            try:
                self._compile(apt.download(package), work)
                break
            except LabError as error:
                if i == len(packages[:_ATTEMPTS]):
                    raise
                say(f"kernel: {package} does not do ({error.message}); trying {packages[i]}")
        shutil.rmtree(work / "apt")

    def _compile(self, deb: Path, work: Path) -> None:
        log, source, made = work / "build.log", work / "source", work / "made"
        for folder in (source, made):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        compiler = work / "cc"
        compiler.write_text(_COMPILER)
        compiler.chmod(0o755)
        self._run(unpacking(deb, made, source), work, log)
        make = f"make ARCH=um O={made} CC={compiler} LOCALVERSION= -j{os.cpu_count() or 1}"
        self._run(
            f"patch -p1 -F3 < {PATCH} && {make} KCONFIG_ALLCONFIG={CONFIG} allnoconfig", source, log
        )
        written = (made / ".config").read_text()
        lacking = missing_options(CONFIG.read_text(), written, options_of(source))
        if lacking:
            raise LabError(
                f"its configuration lacks {', '.join(lacking)}",
                remedy="`spark-cluster lab up --accel tcg` does without it",
            )
        self._run(f"{make} linux modules", source, log)
        self._run(f"{make} INSTALL_MOD_PATH={made}/root modules_install", source, log)
        (lib,) = (made / "root/lib/modules").iterdir()
        (work / "release").write_text(f"{lib.name}\n")
        with tarfile.open(work / "modules.tar", "w") as tar:
            tar.add(lib, f"usr/lib/modules/{lib.name}", filter=_not_the_links)
        shutil.copy2(made / "linux", work / "linux")
        said = first_words(work / "linux")
        if not starts(said):
            raise LabError("it does not start", stderr=said[-800:], remedy="see build.log")
        for folder in (source, made):
            shutil.rmtree(folder)

    def _run(self, script: str, folder: Path, log: Path) -> None:
        with log.open("ab") as sink, self._turn:
            if self._cancelled:
                raise Cancelled
            self._child = child = subprocess.Popen(
                ["bash", "-o", "pipefail", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=folder,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C", "KBUILD_BUILD_TIMESTAMP": "1 January 2026"},
            )
        try:
            code = child.wait()
        except BaseException:
            self.cancel()
            raise
        if self._cancelled:
            raise Cancelled
        if code:
            raise LabError(
                f"it was not built (exit code {code})",
                command=script,
                stderr="\n".join(process.last_lines(log, 8)),
                remedy="`spark-cluster lab up --accel tcg` does without it",
            )


def unpacking(deb: Path, scratch: Path, source: Path) -> str:
    """The shell that unpacks what we compile of a linux-source package into `source`.

    Debian packs usr/src/NAME.tar.xz, Ubuntu a link of such a name and usr/src/NAME/NAME.tar.bz2."""
    return (
        f"dpkg-deb --fsys-tarfile {deb} | tar -xC {scratch} --wildcards './usr/src/*.tar.*'"
        f" && tar -xf $(find {scratch}/usr -type f) -C {source} --strip-components=1"
        f" --exclude-from={EXCLUDE} && rm -r {scratch}/usr"
    )


def options_of(source: Path) -> set[str]:
    """Every option that a kernel's source knows."""
    found: set[str] = set()
    for path in source.rglob("Kconfig*"):
        if path.is_file():
            found |= set(re.findall(r"^(?:menu)?config (\w+)", path.read_text(), re.MULTILINE))
    return found


def missing_options(asked: str, written: str, known: set[str]) -> list[str]:
    """What we asked for and did not get, but for options that this version does not have."""
    have = set(written.splitlines())
    wanted = [line for line in asked.splitlines() if line.startswith("CONFIG_")]
    return [
        line
        for line in wanted
        if line not in have and line.partition("=")[0].removeprefix("CONFIG_") in known
    ]


def _not_the_links(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """The links `build` and `source` lead to folders that go."""
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return None if info.issym() else info


def first_words(program: Path, *, limit: float = 20.0) -> str:
    """What a kernel without a disk says until it gives up: that it runs on this machine at all."""
    script = (
        f'{SHM} && exec timeout {limit:.0f} "$0" mem=96M con0=null,fd:1 con=null ssl=null noreboot'
    )
    with tempfile.TemporaryDirectory() as home:  # without one it ends before it looks for a disk
        done = subprocess.run(
            [*new_namespace(), "sh", "-c", script, str(program)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": "/dev/shm", "HOME": home},
        )
    return done.stdout + done.stderr


def starts(said: str) -> bool:
    """Whether these first words are those of a kernel that came as far as it can without a disk."""
    return "Kernel panic" in said and "Unable to mount root" in said

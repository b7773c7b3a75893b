"""Which way nodes are run in, and the words about it: accel, phases, apt's own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_cluster.core.error import LabError
from spark_cluster.lab import accel, apt, layers, phases
from spark_cluster.lab.image import Base
from spark_cluster.lab.sources import Mirror
from spark_cluster.lab.uml import kernel as uml_kernel
from spark_cluster.lab.uml.kernel import Builder, Kernel
from tests.command_line import Cli

MIRROR = Mirror("debian", "http://mirror.example/debian", "trixie", ("main",), Path("/k.gpg"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def kernel(cache: Path) -> Kernel:
    (cache / "kernel-1").mkdir()
    (cache / "kernel-1" / "release").write_text("7.3.4\n")
    return Kernel(cache / "kernel-1")


def machine_with(monkeypatch: pytest.MonkeyPatch, *, kvm: str, uml: str) -> None:
    """A machine, by why it refuses KVM and a namespace."""
    monkeypatch.setattr(accel, "kvm_refusal", lambda base: kvm)
    monkeypatch.setattr("spark_cluster.lab.uml.run.refusal", lambda: uml)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


BASE = Base(Path("/c/base-1"))


def test_kvm_is_the_first_choice_and_no_kernel_is_built_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine_with(monkeypatch, kvm="", uml="")

    def build() -> Kernel:
        raise AssertionError("built for nothing")

    assert accel.choose(BASE, None, build).accel == "kvm"


def test_without_kvm_it_is_user_mode_linux_and_says_why(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel
) -> None:
    machine_with(monkeypatch, kvm="there is no /dev/kvm", uml="")
    way = accel.choose(BASE, None, lambda: kernel)
    assert (way.accel, way.kernel) == ("uml", kernel)
    assert way.why == "KVM: there is no /dev/kvm; user-mode Linux 7.3.4 works here"


@pytest.mark.parametrize("uml", ["unshare failed", ""])
def test_emulation_is_last_and_tells_of_both(monkeypatch: pytest.MonkeyPatch, uml: str) -> None:
    machine_with(monkeypatch, kvm="no", uml=uml)

    def build() -> Kernel:
        raise LabError("it was not built", remedy="-")

    way = accel.choose(BASE, None, build)
    assert (way.accel, way.kernel) == ("tcg", None)
    assert "KVM: no; user-mode Linux: " in way.why
    assert ("unshare failed" if uml else "it was not built") in way.why


def test_what_was_asked_for_and_does_not_work_is_an_error(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel
) -> None:
    machine_with(monkeypatch, kvm="there is no /dev/kvm", uml="unshare failed")
    for wanted, reason in (("kvm", "KVM: there is no /dev/kvm"), ("uml", "unshare failed")):
        with pytest.raises(LabError, match=reason) as error:
            accel.choose(BASE, wanted, lambda: kernel)
        assert "--accel" in error.value.remedy
    assert accel.choose(BASE, "tcg", lambda: kernel).accel == "tcg"


def test_a_way_that_there_is_not_is_refused_before_anything_is_built(cli: Cli) -> None:
    done = cli("lab", "up", "--accel", "xen")
    assert done.code != 0
    assert "xen" in done.err


def test_a_kernel_that_failed_is_not_built_at_every_start(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def build(self: Builder, mirror: Mirror, work: Path, say: layers.Say) -> None:
        tried.append(mirror.suite)
        raise LabError("no linux-source package", remedy="-")

    monkeypatch.setattr(Builder, "_build", build)
    for _ in range(2):
        with pytest.raises(LabError, match="no linux-source package"):
            Builder().ensure(MIRROR, lambda _: None)
    assert tried == ["trixie"]
    with pytest.raises(LabError):
        Builder().ensure(MIRROR, lambda _: None, again=True)
    assert len(tried) == 2
    monkeypatch.setattr(uml_kernel, "key", lambda: "another configuration")
    assert uml_kernel.failed() is None


def test_what_is_built_in_vain_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where KVM turns out to work, nobody waits for the kernel."""
    ended: list[str] = []

    def build(self: Builder, mirror: Mirror, work: Path, say: layers.Say) -> None:
        try:
            self._run("sleep 600", work, work / "log")
        except uml_kernel.Cancelled:
            ended.append("cancelled")
            raise

    monkeypatch.setattr(Builder, "_build", build)
    with uml_kernel.beside(MIRROR, lambda _: None, early=True, again=False):
        pass
    assert ended == ["cancelled"]
    assert uml_kernel.failed() is None
    assert list(layers.root().glob("*kernel*")) == []


def test_a_phase_tells_how_long_it_took_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 85.4, 100.0, 104.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    said: list[str] = []
    for _ in range(2):
        with phases.phase("nodes' disk", "installs packages", said.append):
            pass
    assert said == [
        "nodes' disk: installs packages",
        "nodes' disk: done in 1 min 15 s",
        "nodes' disk: installs packages (1 min 15 s last time here)",
        "nodes' disk: done in 4 s",
    ]
    assert phases.known()["nodes' disk"].seconds == 4.0


def test_a_phase_that_fails_is_not_a_time_to_expect() -> None:
    with pytest.raises(RuntimeError), phases.phase("boot", "starts", lambda _: None):
        raise RuntimeError
    assert phases.known() == {}


def test_apt_is_told_suites_keyring_and_a_place_of_its_own(tmp_path: Path) -> None:
    assert apt.source_lines(MIRROR).splitlines() == [
        "deb [signed-by=/k.gpg] http://mirror.example/debian trixie main",
        "deb [signed-by=/k.gpg] http://mirror.example/debian trixie-updates main",
        "deb [signed-by=/k.gpg] http://mirror.example/debian trixie-backports main",
    ]
    made = apt.Apt(MIRROR, tmp_path / "apt")
    assert all(str(tmp_path) in x or "Dir::" not in x or "null" in x for x in made._options)

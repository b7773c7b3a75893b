"""From packages to the disk that the nodes start from. Needs root, as debootstrap does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from spark_cluster.core.error import LabError
from spark_cluster.lab import model
from spark_cluster.lab.packages import DISABLED_UNITS, MASKED_UNITS
from spark_cluster.lab.requirements import find_program
from spark_cluster.lab.sources import Mirror
from spark_cluster.lab.topology import INTERFACES, MAX_NODES, Node, mac

GUEST = Path(__file__).parent / "guest"
DISK_SIZE = "8G"

_LAB = (
    "$6$sparklab$MbROCmtc2G9QX1qTS6vpQxZC7XWsspffSgZcofES8GRQIqSn"
    "80AHBy9tgdwI51hbzYZuxy4.RC/To/QOK7432."
)
"""The password `lab`, as /etc/shadow keeps it: sudo asks the user oncall for it."""

_MODES = {
    "etc/netplan/01-network-manager-all.yaml": 0o600,
    "etc/NetworkManager/system-connections/wifi.nmconnection": 0o600,
    "etc/sudoers.d/spark": 0o440,
    "usr/lib/spark-lab/identity": 0o755,
    "usr/lib/spark-lab/rxe": 0o755,
    "usr/bin/nvidia-container-runtime-hook": 0o755,
}


_FASTER = {"DPKG_FORCE": "unsafe-io", "INITRD": "No"}
"""A half-made image is thrown away, so that nothing need be synchronised (dpkg(1)); and no initrd
is made when the kernel is installed (initramfs-tools(8)): it is made when all is there."""


def run(command: Sequence[str | Path], log: Path) -> None:
    """Run a host program; what it says goes to the log, whose end is the error's text."""
    words = [str(word) for word in command]
    words[0] = find_program(words[0]) or words[0]
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", **_FASTER}
    with log.open("ab") as sink:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment, check=False
        )
    if done.returncode:
        tail = log.read_text(errors="replace").splitlines()[-8:]
        raise LabError(
            f"{Path(words[0]).name} ended with exit code {done.returncode}",
            command=" ".join(words),
            stderr="\n".join(tail),
            remedy="check the mirror (--mirror, --suite) and the free disk space, then try again",
        )


def debootstrap(root: Path, packages: Sequence[str], mirror: Mirror, debs: Path, log: Path) -> None:
    """A minimal system with these packages; downloaded packages are kept in `debs`."""
    debs.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [
        "debootstrap",
        "--variant=minbase",
        f"--components={','.join(mirror.components)}",
        f"--include={','.join(packages)}",
        f"--cache-dir={debs}",
    ]
    if mirror.keyring:
        command.append(f"--keyring={mirror.keyring}")
    run([*command, mirror.suite, root, mirror.uri], log)


def slim(root: Path) -> None:
    """Drop what no node ever reads."""
    for name in ("doc", "man", "locale", "info", "lintian", "bash-completion"):
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)
    for name in ("var/lib/apt/lists", "var/cache/apt", "var/log/journal"):
        shutil.rmtree(root / name, ignore_errors=True)


def link_files() -> dict[str, str]:
    """udev's .link files: the names of a Spark's interfaces, by our own MAC addresses."""
    files = {}
    for interface in INTERFACES:
        macs = " ".join(mac(number, interface) for number in range(MAX_NODES + 1))
        files[f"etc/systemd/network/10-{interface}.link"] = (
            f"[Match]\nMACAddress={macs}\n\n[Link]\nName={interface}\n"
        )
    return files


def populate(root: Path, keys: Path, log: Path) -> None:
    """Turn a fresh and slim system into a node: users, guest files, names, keys, the model."""
    for source in sorted(path for path in GUEST.rglob("*") if path.is_file()):
        name = source.relative_to(GUEST).as_posix()
        _write(root / name, source.read_bytes(), _MODES.get(name, 0o644))
    for name, text in link_files().items():
        _write(root / name, text.encode(), 0o644)
    (root / "etc/machine-id").write_text("")
    for old in (root / "etc/ssh").glob("ssh_host_*"):
        old.unlink()
    (root / "usr/lib/spark-lab/keys").mkdir(parents=True, exist_ok=True)
    for path in keys.glob("spark-*"):
        _write(root / "usr/lib/spark-lab/keys" / path.name, path.read_bytes(), 0o600)
    for unit in MASKED_UNITS:
        path = root / "etc/systemd/system" / unit
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/null")
    for unit in DISABLED_UNITS:
        for link in (root / "etc/systemd/system").glob(f"*.wants/{unit}"):
            link.unlink()
    wants = root / "etc/systemd/system/sysinit.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    for unit in ("spark-lab-identity.service", "spark-lab-agent.service"):
        (wants / unit).symlink_to(f"/etc/systemd/system/{unit}")
    client = (keys / "id_ed25519.pub").read_bytes()
    _user(root, "spark", 1000, client, log, groups="docker")
    _user(root, "oncall", 1001, client, log, password=_LAB)
    hub = root / "home/spark/.cache/huggingface/hub"
    model.write_hub(hub)
    run(["chroot", root, "chown", "-R", "spark:spark", "/home/spark"], log)
    run(["chroot", root, "update-initramfs", "-c", "-k", "all"], log)


def _user(
    root: Path,
    name: str,
    uid: int,
    key: bytes,
    log: Path,
    *,
    groups: str = "",
    password: str = "",
) -> None:
    extra = ["-G", groups] if groups else []
    run(["chroot", root, "useradd", "-m", "-u", str(uid), "-s", "/bin/bash", *extra, name], log)
    if password:
        run(["chroot", root, "usermod", "-p", password, name], log)
    folder = root / "home" / name / ".ssh"
    folder.mkdir(mode=0o700)
    _write(folder / "authorized_keys", key, 0o600)
    run(["chroot", root, "chown", "-R", f"{name}:{name}", f"/home/{name}/.ssh"], log)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def make_keys(folder: Path, log: Path) -> None:
    """The client's key and every node's host key: known before the nodes first start."""
    folder.mkdir(parents=True)
    names = ["id_ed25519", *(Node(number).name for number in range(MAX_NODES + 1))]
    for name in names:
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], log)


def make_disk(root: Path, disk: Path, log: Path) -> None:
    features = "-F", "-q", "-t", "ext4", "-L", "spark", "-E", "lazy_itable_init=0,nodiscard"
    run(["mke2fs", *features, "-d", root, disk, DISK_SIZE], log)

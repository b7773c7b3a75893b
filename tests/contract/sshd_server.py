"""A real sshd of our own on 127.0.0.1, and users to log in as, all gone afterwards."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from pwd import getpwnam

from spark_cluster.transport.protocol import Target

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def eventually(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until `true()` is; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _openssh() -> tuple[int, int]:
    """The version of OpenSSH, as `ssh -V` says it."""
    said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    found = re.match(r"OpenSSH_(\d+)\.(\d+)", said)
    assert found, said
    return int(found[1]), int(found[2])


def keygen(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make a key pair; gives the private half's path."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *children(int(child))]
    return found


def established(port: int) -> list[str]:
    """The TCP connections that a server on this port has now, as /proc/net/tcp shows them."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [f[2] for f in lines if f[1].endswith(f":{port:04X}") and f[3] == "01"]


class Server:
    """One sshd. `folder` is readable by every user, for the keys in it are looked up as them."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.client_key = folder / "client"
        if not self.client_key.exists():
            keygen(self.client_key)
            for kind in ("ed25519", "ecdsa", "rsa"):
                keygen(folder / f"host_{kind}", kind)
        shutil.copy(folder / "client.pub", folder / "authorized_keys")
        (folder / "authorized_keys").chmod(0o644)
        self._process = self._start(options)

    def _start(self, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
        assert SSHD is not None
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / f"sshd_config_{self.port}"
        lines = [
            *options,
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            *(f"HostKey {self.folder}/host_{kind}" for kind in ("ed25519", "ecdsa", "rsa")),
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            f"PidFile {self.folder}/sshd_{self.port}.pid",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            *([] if "MaxStartups" in " ".join(options) else ["MaxStartups 100"]),
            # Later ones let an address wait that failed to log in, as these tests do on purpose.
            *(["PerSourcePenalties no"] if _openssh() >= (9, 8) else []),
        ]
        config.write_text("\n".join(lines) + "\n")
        with (self.folder / f"sshd_{self.port}.log").open("wb") as log:
            process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
        eventually(lambda: self._answers() or process.poll() is not None)
        assert process.poll() is None, log_of(self)
        return process

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(self.address, 1) as sock:
            return sock.recv(4) == b"SSH-"
        return False

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def known_name(self) -> str:
        return f"[127.0.0.1]:{self.port}"

    def host_key(self, kind: str = "ed25519") -> str:
        """A line for known_hosts."""
        public = (self.folder / f"host_{kind}.pub").read_text().split()
        return f"{self.known_name} {public[0]} {public[1]}\n"

    def target(
        self,
        *,
        name: str = "spark-1",
        user: str | None = None,
        known: str | None = None,
        identity: Path | None = None,
        ssh_config: str | None = None,
        address: str = "127.0.0.1",
        connect_timeout: float = 15.0,
    ) -> Target:
        """A target that works; `known` is the text of its known_hosts instead of the right one."""
        file = self.folder / f"known_{secrets.token_hex(4)}"
        file.write_text(self.host_key() if known is None else known)
        return Target(
            name=name,
            address=address,
            user=user or getuser(),
            port=self.port if ssh_config is None else None,
            identity=str(identity or self.client_key),
            ssh_config=ssh_config,
            known_hosts=str(file),
            connect_timeout=connect_timeout,
        )

    def sessions(self) -> list[int]:
        """The server's own processes for its connections, not what they run."""
        return [pid for pid in children(self._process.pid) if _name(pid) == "sshd"]

    def signal_sessions(self, number: signal.Signals) -> None:
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        below = children(self._process.pid)
        self._process.terminate()
        self._process.wait(10)
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip().partition("-")[0]
    except OSError:
        return ""


def log_of(server: Server) -> str:
    return (server.folder / f"sshd_{server.port}.log").read_text(errors="replace")


@dataclass(frozen=True)
class User:
    """A user of this machine, for the length of the test run."""

    name: str
    password: str


@contextmanager
def temporary_user(rule: str, home: Path = Path("/")) -> Iterator[User]:
    """A user with a sudoers rule such as `ALL=(ALL) NOPASSWD: ALL`; both are removed."""
    user = User(f"sct{os.getpid()}{secrets.token_hex(2)}", f"pw-{secrets.token_hex(8)}")
    drop_in = Path(f"/etc/sudoers.d/{user.name}")
    add = ["useradd", "-M", "-d", str(home), "-s", "/bin/bash", user.name]
    subprocess.run(add, check=True, timeout=30)
    try:
        line = f"{user.name}:{user.password}\n".encode()
        subprocess.run(["chpasswd"], input=line, check=True, timeout=30)
        drop_in.write_text(f"{user.name} {rule}\n")
        drop_in.chmod(0o440)
        yield user
    finally:
        drop_in.unlink(missing_ok=True)
        uid = getpwnam(user.name).pw_uid
        eventually(lambda: not _ended(uid))
        subprocess.run(["userdel", user.name], check=True, timeout=30, capture_output=True)


def _ended(uid: int) -> list[int]:
    """Kill what still runs as this user; gives what was found."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == uid and running(int(folder.name)):
                found.append(int(folder.name))
                os.kill(int(folder.name), signal.SIGKILL)
    return found

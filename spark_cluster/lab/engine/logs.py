"""Log lines in the formats of vLLM and Ray, and what `ps` and nvidia-smi show of a process."""

from __future__ import annotations

import contextlib
import os
import time


def _write(number: int, data: bytes) -> None:
    """In one system call, so that lines of several processes do not mix."""
    # The reader may have gone (docker logs): the server goes on, as the real one does.
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(number, data) :]


def out(text: str) -> None:
    """Write one line."""
    _write(1, (text + "\n").encode(errors="replace"))


def err(text: str) -> None:
    """Write one line to standard error."""
    _write(2, (text + "\n").encode(errors="replace"))


class Stdio:
    """C's standard output, as NCCL writes to it: into a file or a pipe only in blocks of 4096
    bytes, in the middle of a line and between the lines of others, and the last block only when
    the process ends in order. One that is killed takes it along."""

    BLOCK = 4096

    def __init__(self) -> None:
        self._waiting = b""

    def line(self, text: str) -> None:
        """Add one line."""
        self._waiting += (text + "\n").encode(errors="replace")
        while len(self._waiting) >= self.BLOCK:
            block, self._waiting = self._waiting[: self.BLOCK], self._waiting[self.BLOCK :]
            _write(1, block)

    def flush(self) -> None:
        """What exit() does."""
        block, self._waiting = self._waiting, b""
        _write(1, block)


def vllm_line(who: str, where: str, text: str, level: str = "INFO") -> str:
    """`(APIServer pid=7) INFO 11-21 02:00:00 [file.py:1] text`; no process where `who` is empty."""
    process = f"({who} pid={os.getpid()}) " if who else ""
    return f"{process}{level} {time.strftime('%m-%d %H:%M:%S')} [{where}] {text}"


def ray_line(where: str, text: str, level: str = "INFO") -> str:
    """`2026-11-20 22:29:35,499<TAB>INFO scripts.py:1043 -- text`."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    return f"{stamp},{int(now * 1000) % 1000:03d}\t{level} {where} -- {text}"


def ray_core_line(where: str, text: str, level: str = "W") -> str:
    """A line of Ray's C++ part: `[2026-11-20 22:29:35,499 W 31 31] file.cc:330: text`."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    pid = os.getpid()
    return f"[{stamp},{int(now * 1000) % 1000:03d} {level} {pid} {pid}] {where}: {text}"


def set_process_name(name: str) -> None:
    """The name that `top` shows (15 characters, as the kernel cuts it)."""
    path = "/proc/self/comm"
    with contextlib.suppress(OSError), open(path, "w") as file:  # noqa: PTH123 - slow to import
        file.write(name[:15])


def stat_fields(pid: int | str = "self") -> list[str]:
    """What the kernel tells of a process, from its state on: field 0 is the third of proc(5).
    Raises OSError if there is no such process."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - pathlib is slow to import
        return file.read().rsplit(")", 1)[1].split()


def set_title(title: str) -> None:
    """The command line that `ps`, `docker top` and nvidia-smi show, as setproctitle sets it: the
    memory of the arguments is written over."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = stat_fields()
        start, end = int(fields[45]), int(fields[46])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:  # noqa: PTH123
            memory.seek(start)
            memory.write(title.encode()[: end - start - 1].ljust(end - start, b"\0"))


def gpu_visible() -> bool:
    """True if this container was given the GPU: what `docker run --gpus` leaves behind."""
    return os.environ.get("NVIDIA_VISIBLE_DEVICES", "") not in ("", "void", "none")

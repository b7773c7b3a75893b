"""Log lines in the formats of vLLM 0.11 and Ray 2.5x, on standard output."""

from __future__ import annotations

import os
import time


def out(text: str) -> None:
    """Write one line in one system call, so that lines of several processes do not mix."""
    data = (text + "\n").encode(errors="replace")
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        # The reader has gone (docker logs): the server goes on, as the real one does.
        return


def err(text: str) -> None:
    """Write one line to standard error."""
    try:
        os.write(2, (text + "\n").encode(errors="replace"))
    except OSError:
        return


def vllm_line(who: str, where: str, text: str, level: str = "INFO") -> str:
    """`(APIServer pid=7) INFO 11-21 02:00:00 [file.py:1] text`."""
    return f"({who} pid={os.getpid()}) {level} {time.strftime('%m-%d %H:%M:%S')} [{where}] {text}"


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
    """Set the name that `ps` and nvidia-smi show (15 characters, as the kernel cuts it)."""
    try:
        with open("/proc/self/comm", "w") as file:  # noqa: PTH123 - pathlib is slow to import
            file.write(name[:15])
    except OSError:
        return


def gpu_visible() -> bool:
    """True if this container was given the GPU: what `docker run --gpus` leaves behind."""
    return os.environ.get("NVIDIA_VISIBLE_DEVICES", "") not in ("", "void", "none")

"""Small programs of a host that this machine may lack, or that must not reach this machine:

ss, curl, ip, ping    where they are not installed; only what the program asks of them
nvidia-smi            the real one, without the processes of other hosts on the same GPU
swapoff               does nothing: the swap is this machine's

python -I host_programs.py NAME WORD...
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

_SIOCGIFADDR = 0x8915
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 10, 2
_LISTEN = "0A"


def ss(words: list[str]) -> int:
    """`ss -Hltnp`: who listens, from /proc."""
    owners = {}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if target.startswith("socket:["):
                name = Path(f"/proc/{link.parts[2]}/comm").read_text().strip()
                owners[target[8:-1]] = f'"{name}",pid={link.parts[2]},fd={link.name}'
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                address, port = fields[1].split(":")
                users = f"users:(({owners[fields[9]]}))" if fields[9] in owners else ""
                print(f"LISTEN 0 128 {_address(address)}:{int(port, 16)} 0.0.0.0:* {users}")
    return 0


def _address(text: str) -> str:
    """Of /proc/net/tcp: words of 32 bits in this machine's order."""
    raw = b"".join(struct.pack("=I", int(text[at : at + 8], 16)) for at in range(0, len(text), 8))
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    return f"[{socket.inet_ntop(socket.AF_INET6, raw)}]"


def curl(words: list[str]) -> int:
    """What the program's scripts use of it."""
    seconds, form, body, fails, url = 300.0, "", None, False, ""
    headers: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word == "-m":
            seconds = float(next(rest))
        elif word == "-w":
            form = next(rest)
        elif word == "-H":
            value = next(rest)
            for line in Path(value[1:]).read_text().split("\n") if value[0] == "@" else [value]:
                name, colon, text = line.partition(":")
                headers |= {name.strip(): text.strip()} if colon else {}
        elif word == "--data-binary":
            next(rest)
            body = sys.stdin.buffer.read()
        elif word in ("--noproxy", "-o"):
            next(rest)
        elif word.startswith("-"):
            fails |= "f" in word
        else:
            url = word
    begun = time.monotonic()
    code, page, error = _fetch(urllib.request.Request(url, body, headers), seconds)
    if code < 400 or not fails:
        sys.stdout.buffer.write(page)
        sys.stdout.flush()
    form = form.replace("\\n", "\n").replace("%{http_code}", f"{code:03d}")
    form = form.replace("%{time_total}", f"{time.monotonic() - begun:.6f}")
    sys.stdout.write(form.replace("%{errormsg}", error))
    if code == 0:
        return 28 if "timed out" in error else 7
    return 22 if fails and code >= 400 else 0


def _fetch(request: urllib.request.Request, seconds: float) -> tuple[int, bytes, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=seconds) as answer:
            return answer.status, answer.read(), ""
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read(), ""
    except OSError as problem:
        reason = getattr(problem, "reason", problem)
        if isinstance(reason, TimeoutError):
            late = f"Operation timed out after {seconds * 1000:.0f} milliseconds"
            return 0, b"", f"{late} with 0 bytes received"
        where = f"{request.host.partition(':')[0]} port {request.host.partition(':')[2] or 80}"
        return 0, b"", f"Failed to connect to {where}: {getattr(reason, 'strerror', reason)}"


def ip(words: list[str]) -> int:
    """`ip -4 -o addr show dev NAME`; the rest is not known here."""
    if words[:5] != ["-4", "-o", "addr", "show", "dev"]:
        print(f"ip: not known here: {' '.join(words)}", file=sys.stderr)
        return 255
    name = words[5]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            said = fcntl.ioctl(asked, _SIOCGIFADDR, struct.pack("16s24x", name.encode()))
        except OSError as problem:
            print(f"Device {name}: {problem.strerror}", file=sys.stderr)
            return 1
    print(f"2: {name}    inet {socket.inet_ntoa(said[20:24])}/24 scope global {name}")
    return 0


def ping(words: list[str]) -> int:
    """One echo of `-s` bytes from `-I` within `-W` or `-w` seconds, never in fragments."""
    given = dict(itertools.pairwise(words))
    seconds = float(given.get("-W") or given["-w"])
    size, interface = int(given["-s"]), given["-I"]
    packet = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1) + bytes(size)
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet[: len(packet) // 2 * 2]))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    packet = packet[:2] + struct.pack("!H", checksum) + packet[4:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as asked:
        asked.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        asked.settimeout(seconds)
        try:
            asked.sendto(packet, (words[-1], 0))
            while True:
                answer = asked.recv(65536)[20:]
                if answer[0] == 0 and answer[4:6] == packet[4:6]:
                    return 0
        except OSError as problem:
            print(f"ping: {problem}", file=sys.stderr)
            return 1


def nvidia_smi(words: list[str]) -> int:
    """Processes are asked of the driver, which tells those of all hosts that share the GPU."""
    real = shutil.which("nvidia-smi", path=os.environ["REAL_PATH"])
    if real is None:
        print("sh: nvidia-smi: not found", file=sys.stderr)
        return 127
    done = subprocess.run([real, *words], stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines(keepends=True)
    if any(word.startswith("--query-compute-apps") for word in words):
        lines = [line for line in lines if _is_here(line.partition(",")[0].strip())]
    sys.stdout.writelines(lines)
    return done.returncode


def _is_here(pid: str) -> bool:
    """Whether a process runs on this host; True for a line without one."""
    if not pid.isdigit():
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/ns/uts").readlink() == Path("/proc/self/ns/uts").readlink()
    return False


def setpriv(words: list[str]) -> int:
    """As root: another user may not reach a Python that lies in root's home."""
    command = [word for word in words if not word.startswith("--")]
    os.execvp(command[0], words[words.index(command[0]) :])


def swapoff(words: list[str]) -> int:
    return 0


PROGRAMS = {
    "ss": ss, "curl": curl, "ip": ip, "ping": ping, "nvidia-smi": nvidia_smi, "setpriv": setpriv,
    "swapoff": swapoff,
}  # fmt: skip

#: Those of which this machine's own will do.
REPLACED_IF_MISSING = ("ss", "curl", "ip", "ping")

if __name__ == "__main__":
    sys.exit(PROGRAMS[sys.argv[1]](sys.argv[2:]))

"""`make demo`: the commands that a user would type, run one after the other on the lab.

Everything shown is what the commands themselves print. It stops at the first that fails, and ends
with what was proved and what was simulated. KEEP=1 leaves the lab up; SVG=FILE draws the verdict.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib import error, request

from spark_cluster.core.printable import one_line
from spark_cluster.lab import phases

_PROGRAM = str(Path(sys.executable).with_name("spark-cluster"))
_RECIPE = "qwen3-vl-235b"


_PICTURE = os.environ.get("SVG", "")
#: Columns of the picture: a README shows them at a size that can be read.
_WIDTH = 100
_shown: list[str] = []
_took: list[tuple[str, float]] = []


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    _shown.append(text)


def run(*arguments: str) -> None:
    """Show the command as typed, run it, stop the demo if it fails."""
    say(f"\n$ spark-cluster {shlex.join(arguments)}")
    started = time.monotonic()
    code = _run_recorded(arguments) if _PICTURE else subprocess.call([_PROGRAM, *arguments])
    if code:
        raise SystemExit(code)
    _took.append((shlex.join(arguments), time.monotonic() - started))


def times(since: float) -> str:
    """How long each command took; below `lab up`, the phases that it went through."""
    inside = [(name, p.seconds) for name, p in phases.known().items() if p.ended >= since]
    lines = []
    for command, seconds in _took:
        lines.append(f"  {command:<24} {phases.words(seconds):>12}")
        if command == "lab up":
            lines += [f"    {name:<22} {phases.words(s):>12}" for name, s in inside]
    return "\n".join(lines)


def _run_recorded(arguments: tuple[str, ...]) -> int:
    """The command with colours, its lines shown and kept for the picture."""
    process = subprocess.Popen(
        [_PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FORCE_COLOR": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        say(line.rstrip("\n"))
    return process.wait()


def draw(path: Path) -> None:
    """What verify-rdma showed, as an SVG."""
    from rich.console import Console
    from rich.text import Text

    began = next(
        at for at, text in enumerate(_shown) if text.endswith("$ spark-cluster verify-rdma")
    )
    lines = itertools.takewhile(lambda text: not text.startswith("\n$"), _shown[began + 1 :])
    console = Console(record=True, width=_WIDTH, file=io.StringIO())
    console.print(Text.from_ansi("\n".join([_shown[began].strip(), *lines]).rstrip()))
    console.save_svg(str(path), title="spark-cluster")


def told(*arguments: str) -> Any:
    """What a command prints with `--json`: its last object."""
    done = subprocess.run(
        [_PROGRAM, *arguments, "--json"], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def endpoint() -> tuple[str, str]:
    """The endpoint and the model of the newest launch, as its journal tells them."""
    launches = [run for run in told("history")["runs"] if run["verb"] == "launch"]
    entries = told("history", launches[0]["run"])["entries"]
    data = next(entry["data"] for entry in entries if entry["kind"] == "run_finished")
    return str(data["endpoint"]), str(data["model"])


def chat() -> None:
    """One chat completion against the printed endpoint, over plain HTTP from this machine."""
    url, model = endpoint()
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "What are you?"}],
        "max_tokens": 24,
    }
    say(f"\n$ curl {one_line(url)}/chat/completions -d {shlex.quote(json.dumps(body))}")
    asked = request.Request(
        f"{url}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = request.build_opener(request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=120) as answer:
            reply = json.load(answer)
    except (error.URLError, OSError, ValueError) as fault:
        say(f"the endpoint gave no completion: {one_line(str(fault))}")
        raise SystemExit(1) from fault
    said = str(reply["choices"][0]["message"]["content"])
    say("\n".join(map(one_line, said.split("\n"))))
    say(f"({int(reply['usage']['completion_tokens'])} tokens)")


def main() -> None:
    started, began = time.monotonic(), time.time()
    keep = os.environ.get("KEEP", "") not in ("", "0")
    try:
        run("lab", "up")
        run("bootstrap")
        run("launch", _RECIPE)
        run("verify-rdma")
        chat()
        run("teardown")
    except BaseException:
        say("\nThe demo stopped early; the lab is left up: `spark-cluster lab status`,")
        say("`spark-cluster lab ssh spark-2`, and `spark-cluster lab down` when you are done.")
        raise
    say(
        f"""
Proved in {time.monotonic() - started:.0f} s, on three machines with kernels of their own:
  - netplan with NetworkManager set both halves of the cabled port, guarded by a dead-man
  - RoCE v2 devices, GIDs, jumbo frames, swap, docker: read again after every change
  - Ray's head and worker in containers, `vllm serve` over both, a token before "ready"
  - the tokens travelled by RDMA WRITE between the hosts: the devices' own counters say so
  - after the teardown nothing was left, on all three hosts
Simulated: the GPU, and with it the engine's inside: `ray`, `vllm` and `nvidia-smi` are stand-ins
  with the real command lines. They generate no language; speed and memory mean nothing here."""
    )
    say(f"\nWhere the time went (phases may have run side by side):\n{times(began)}")
    if _PICTURE:
        draw(Path(_PICTURE))
    if keep:
        say("\nThe lab is up (KEEP=1): every command works on it until `spark-cluster lab down`.")
        return
    run("lab", "down")


if __name__ == "__main__":
    main()

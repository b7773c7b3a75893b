"""A warm `bootstrap` against one raw `ssh HOST true` per host, in the same run: the ratio.

Method: alternate the two, `--rounds` times, on the current inventory, whose hosts must already be
bootstrapped. The raw side starts OpenSSH for all hosts at once and waits for all of them, as our
side does. Both include process start, TCP, key exchange and authentication; ours adds Python's
start, the probe of every fact, and the comparison. Medians, and their ratio, are what to quote:
single absolute times on a shared machine mean little.

    python bench/warm_bootstrap.py [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from spark_cluster.inventory import loader

PROGRAM = str(Path(sys.executable).with_name("spark-cluster"))


def timed(work: list[list[str]]) -> float:
    """Wall seconds of all commands started at once. Raises if one fails."""
    started = time.monotonic()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in work]
    codes = [process.wait(timeout=600) for process in running]
    if any(codes):
        raise SystemExit(f"a command failed: {work}, exit codes {codes}")
    return time.monotonic() - started


def raw_commands(path: Path) -> list[list[str]]:
    inventory = loader.load(path)
    commands = []
    for name in inventory.hosts:
        target = loader.target(inventory, name)
        options = ["-F", target.ssh_config] if target.ssh_config else []
        commands.append(["ssh", *options, "-o", "BatchMode=yes", target.address, "true"])
    return commands


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    raw = raw_commands(loader.find(None))
    ours = [[PROGRAM, "bootstrap", "--json"]]
    timed(ours)
    pairs = [(timed(raw), timed(ours)) for _ in range(options.rounds)]
    raw_median = statistics.median(pair[0] for pair in pairs)
    our_median = statistics.median(pair[1] for pair in pairs)
    result = {
        "hosts": len(raw),
        "rounds": options.rounds,
        "raw_ssh_seconds": round(raw_median, 3),
        "warm_bootstrap_seconds": round(our_median, 3),
        "ratio": round(our_median / raw_median, 2),
    }
    if options.json:
        print(json.dumps(result))  # noqa: T201
        return
    for key, value in result.items():
        print(f"{key:<24} {value}")  # noqa: T201


if __name__ == "__main__":
    main()

"""A real shell for scripts that are made for the hosts."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

#: Not faults of ours: variables of a prelude that not every script uses (SC2034), or that another
#: script sets (SC2154), a file that is sourced (SC1091), ping's `-M do` (SC1010), a function whose
#: further arguments only some scripts give (SC2120), folders above one that only root may read
#: (SC2174).
_ACCEPTED = "SC2034,SC2154,SC1091,SC1010,SC2120,SC2174"


def sh(script: str, shell: str = "/bin/sh") -> str:
    """What a real shell prints for `script`; it must end well."""
    done = subprocess.run(
        [shell, "-s"],
        input=script,
        text=True,
        capture_output=True,
        timeout=20,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shellcheck(script: str) -> str:
    """What shellcheck finds in a script; nothing if it is sound."""
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck on this machine (apt install shellcheck)")
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-S", "warning", "-e", _ACCEPTED, "-"],
        # The locked memory's limit is not in POSIX (SC3045), and dash has it.
        input=script.replace("ulimit -l", "ulimit -f"),
        text=True,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout

"""A real shell for scripts that are made for the hosts."""

from __future__ import annotations

import os
import subprocess


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

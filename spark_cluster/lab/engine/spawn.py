"""Start a rank process in this container."""

from __future__ import annotations

import json
import os
import sys

from .wire import Json


def spawn_rank(env: Json, spec: Json) -> int:
    """The container's own environment, with the driver's variables over it. The pid."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    parent, package = os.path.split(here)
    # By name and not by `import`: the folder may be called what Python's syntax forbids.
    code = (
        f"import sys; sys.path.append({parent!r}); "
        f"sys.exit(__import__({package + '.rank'!r}, fromlist=['main']).main())"
    )
    full = {**os.environ, **env, "SPARK_LAB_RANK": json.dumps(spec)}
    argv = [sys.executable, "-c", code, "ray::RayWorkerWrapper"]
    return os.posix_spawn(sys.executable, argv, full)

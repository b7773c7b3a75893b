"""What sparkrun makes of recipes: `python render.py FILE... > theirs.json`, in sparkrun's Python.

python3.12 -m venv there && there/bin/pip install sparkrun==0.4.2
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from sparkrun.core.bootstrap import get_runtime, init_sparkrun
from sparkrun.core.recipe import Recipe


def main(paths: list[str]) -> None:
    logging.disable(logging.CRITICAL)
    variables = init_sparkrun()
    found = {}
    for path in map(Path, paths):
        try:
            recipe = Recipe.load(path)
            nodes = recipe.min_nodes or 1
            command = get_runtime(recipe.runtime, variables).generate_command(
                recipe=recipe,
                overrides={},
                is_cluster=nodes > 1,
                num_nodes=nodes,
                head_ip="10.0.0.1" if nodes > 1 else None,
            )
            found[str(path)] = {"command": command, "env": dict(recipe.env)}
        except Exception as error:
            found[str(path)] = {"error": repr(error)}
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])

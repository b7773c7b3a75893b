"""Recipes of sparkrun beside its own rendering: `python bench/foreign/compare.py theirs.json`.

For each: whether it loads here, else why not; and whether the engine gets the same arguments and
the same variables. What differs by intent is left out: the host, the port's place, and what each
tool gives the ranks to find each other.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from spark_cluster.core.error import InputError
from spark_cluster.recipes import loader
from spark_cluster.recipes.command_line import parse
from spark_cluster.recipes.demand import plain

_OWN = {"host", "port", "model", "model-path", "distributed-executor-backend",
        "nnodes", "node-rank", "master-addr", "master-port", "headless",
        "dist-init-addr"}  # fmt: skip
_NAMES = {"tp-size": "tensor-parallel-size", "tp": "tensor-parallel-size"}


def main(path: str) -> int:
    theirs = json.loads(Path(path).read_text(encoding="utf-8"))
    loaded = same = 0
    for name, rendered in sorted(theirs.items()):
        try:
            recipe = loader.load(name, {})
        except InputError as error:
            _say(f"refused  {Path(name).name}: {error.message}")
            continue
        loaded += 1
        if "error" in rendered:
            _say(f"only here  {Path(name).name}: sparkrun: {rendered['error']}")
            continue
        words = shlex.split(rendered["command"].replace("\\\n", " "))
        line = parse(words[3:] if words[1:2] == ["-m"] else words[2:])
        their_args = {_NAMES.get(key, key): value for key, value in line.args.items()}
        our_args: dict[str, object] = {
            "served-model-name": recipe.client_model,
            **{_NAMES.get(key, key): value for key, value in plain(recipe.args).items()},
        }
        their_args.setdefault("served-model-name", recipe.model)
        different = {
            key: (_text(their_args.get(key)), _text(our_args.get(key)))
            for key in (their_args.keys() | our_args.keys()) - _OWN
            if _text(their_args.get(key)) != _text(our_args.get(key))
        }
        env = {key: choice.text for key, choice in recipe.env.items()}
        different |= {
            key: (str(value), env.get(key, "absent"))
            for key, value in rendered["env"].items()
            if env.get(key) != str(value) and key not in recipe.secrets
        }
        same += not different
        for key, (a, b) in sorted(different.items()):
            _say(f"differs  {Path(name).name}: {key}: sparkrun {a}, here {b}")
    _say(f"{loaded} of {len(theirs)} load, {same} say the same")
    return 0 if same == loaded else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _text(value: object) -> str:
    if value is None:
        return "absent"
    return " ".join(value) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

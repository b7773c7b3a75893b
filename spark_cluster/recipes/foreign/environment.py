"""The variables of another tool's recipe, as fields of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spark_cluster.recipes.foreign.template import BadTemplate, refuse_leftovers
from spark_cluster.recipes.foreign.theirs import Theirs
from spark_cluster.recipes.secret_names import MASK, is_secret_variable

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")

#: sparkrun's name for a default of the recipe.
_CONFIG = re.compile(r"\{(?:config\.)?(\w+)\}")

_RAY = {"value": "0", "why": "Ray would kill workers on unified memory"}


def environment(theirs: Theirs, engine: str, set_before: Mapping[str, str]) -> dict[str, Any]:
    """`env` and `secrets`. `set_before` are variables that the command itself sets.

    `TOKEN: $TOKEN` is a secret of the controller's environment; other uses of $ are refused, and so
    is what a tool may fill in (sparkrun from 0.4 on: `{config.port}`, `{launch.model_path}`).
    """
    env: dict[str, Any] = {}
    secrets: list[str] = []
    for name, value in theirs.mapping("env").items():
        if value is not None and not isinstance(value, str | int | float | bool):
            raise theirs.refuse(("env", name), "must be a text", f"The value there is {value!r}.")
        text = "" if value is None else str(value)
        match = _VARIABLE.fullmatch(text)
        if match and name in match.groups():
            secrets.append(name)
        elif "$" in text:
            shown = MASK if is_secret_variable(name) else repr(text)
            raise theirs.refuse(
                ("env", name),
                f"{shown}: spark-cluster puts nothing in for $",
                f"Write the value itself, or `{name}: ${{{name}}}` for a secret of that name.",
            )
        else:
            _refuse_placeholders(theirs, name, text)
            env[name] = text
    env.update(set_before)
    if engine == "vllm-ray":
        env.setdefault("RAY_memory_monitor_refresh_ms", _RAY)
    return {"env": env, **({"secrets": secrets} if secrets else {})}


def _refuse_placeholders(theirs: Theirs, name: str, text: str) -> None:
    try:
        refuse_leftovers(text)
    except BadTemplate as bad:
        match = _CONFIG.fullmatch(bad.part)
        value = theirs.mapping("defaults").get(match[1]) if match else None
        raise theirs.refuse(
            ("env", name),
            f"{bad.part}: spark-cluster fills nothing in here, the variable would hold the braces",
            "Write the value itself" + (f": {value}" if value is not None else "") + ".",
        ) from bad

"""The rules of lint.py about the values and the spelling of arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from spark_cluster.recipes import demand
from spark_cluster.recipes.command_line import LEVEL
from spark_cluster.recipes.known_models import heads_of
from spark_cluster.recipes.lint_finding import Finding, error, value_of
from spark_cluster.recipes.lint_settings import Rule, settings
from spark_cluster.recipes.lint_versions import vllm
from spark_cluster.recipes.models import Recipe

#: Arguments whose value may begin like JSON and is none: a template in one line.
_TEMPLATES = ("chat-template", "chat_template")

#: What other tools fill in; in JSON a brace is followed by a quote.
_PLACEHOLDER = re.compile(r"(?<![{%])\{[A-Za-z_][\w.]*\}")


def no_json(recipe: Recipe) -> Iterator[Finding]:
    """A value that looks like JSON must be JSON: the engine parses it when it starts."""
    for name, choice in recipe.args.items():
        value = (value_of(choice) or "").strip()
        if value[:1] not in ("{", "[") or name in _TEMPLATES or _PLACEHOLDER.search(value):
            continue
        try:
            json.loads(value)
        except (ValueError, RecursionError) as fault:
            what = f"{name} looks like JSON and is none ({_short(fault)}): {_shown(value)}"
            yield error(("args", name), "RECIPE005", what, _mend(value))


def _short(fault: Exception) -> str:
    said = fault.msg if isinstance(fault, json.JSONDecodeError) else "it is too deep"
    return said[:1].lower() + said[1:]


def _shown(value: str) -> str:
    return value if len(value) <= 80 else f"{value[:77]}..."


def _mend(value: str) -> str:
    if "{{" in value:
        return "Write one brace, not two."
    if '"' not in value and re.search(r"[A-Za-z]", value):
        return "JSON has double quotes: put single quotes around the whole value, for the shell."
    return "Correct it; `python3 -m json.tool` says where."


def placeholders(recipe: Recipe) -> Iterator[Finding]:
    """A recipe of ours fills nothing in; people copy lines from those of other tools."""
    for name, choice in recipe.args.items():
        match = _PLACEHOLDER.search(value_of(choice) or "")
        if match is not None and name not in _TEMPLATES:
            what = (
                f"{name} has {match[0]}, and nothing fills it in: the engine would get the braces"
            )
            yield error(("args", name), "RECIPE005", what, "Write the value itself.")


def short_names(recipe: Recipe) -> Iterator[Finding]:
    """Every argument gets two dashes."""
    for name in recipe.args if recipe.engine.startswith("vllm") else ():
        first = name.partition(".")[0]
        long = LEVEL if re.fullmatch(r"O\d?", first) else vllm().short_names.get(f"-{first}")
        if long is not None:
            what = f"{name} is no name of an argument but its short form"
            yield error(("args", name), "RECIPE005", what, f"Write `{long}`.")


def twice(recipe: Recipe) -> Iterator[Finding]:
    """vLLM makes JSON of all `name.field`, and gives it as another `name`: the last one counts."""
    if not recipe.engine.startswith("vllm"):
        return
    parts = {name.partition(".")[0]: name for name in recipe.args if "." in name}
    for name, dotted in parts.items():
        if (
            value_of(recipe.args.get(name)) is not None
            and value_of(recipe.args[dotted]) is not None
        ):
            what = f"{dotted} takes the place of all of {name}: vLLM keeps only the last of the two"
            yield error(("args", name), "RECIPE005", what, f"Write it into {name}.")


def heads(recipe: Recipe) -> Iterator[Finding]:
    """Of models whose numbers are known here; launch asks the config.json on the hosts."""
    known = heads_of(recipe.model)
    try:
        tensor = demand.of_recipe(recipe).tensor
    except demand.BadArgument:
        return
    if known is None or known % tensor == 0:
        return
    fitting = ", ".join(str(n) for n in range(1, 9) if known % n == 0)
    names = {name.replace("_", "-"): name for name in recipe.args}
    name = next((names[n] for n in demand.NAMES["tensor"] if n in names), demand.NAMES["tensor"][0])
    what = f"{known} attention heads cannot be divided by tensor parallel {tensor}"
    remedy = f"Use one of {fitting}, or divide by layers (pipeline parallel)."
    yield error(("args", name), "RECIPE005", what, remedy)


ARGUMENT_RULES: tuple[Rule, ...] = (
    no_json, placeholders, short_names, twice, heads, settings("dflash2"),
)  # fmt: skip

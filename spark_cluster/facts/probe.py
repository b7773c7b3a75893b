"""One script that reads many facts, and the reading of its output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spark_cluster.facts.base import Fact, Facts, ProbeContext

#: Starts every script of ours: who came in over SSH, and where their home is, also under sudo.
PRELUDE = """\
SPARK_USER=${SUDO_USER:-$(id -un)}
SPARK_HOME=$(getent passwd "$SPARK_USER" | cut -d: -f6)
"""

_MARK = "@@spark-cluster-fact"


def script(facts: Sequence[Fact[Any]], context: ProbeContext) -> str:
    """The probe: each fact's output between its mark and the next; errors are part of it.

    An empty line before each mark ends an output that has no newline at its end.
    """
    parts = [PRELUDE]
    for fact in facts:
        mark = f"echo; echo '{_MARK} {fact.name}'"
        parts.append(f"{mark}\n{{\n:\n{fact.script(context).rstrip()}\n}} 2>&1\n")
    parts.append(f"echo; echo '{_MARK} .'\n")
    return "".join(parts)


def sections(output: str) -> dict[str, str]:
    """The output of each fact by its name. The last mark is missing if the probe broke off."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in output.split("\n"):
        if line.startswith(_MARK):
            name = line[len(_MARK) :].strip()
            current = found.setdefault(name, [])
        elif current is not None:
            current.append(line)
    return {name: "\n".join(lines).removesuffix("\n") for name, lines in found.items()}


def complete(output: str) -> bool:
    """Whether the probe reached its end."""
    return "." in sections(output)


def parse(output: str, facts: Sequence[Fact[Any]]) -> Facts:
    """The readings; a fact whose section is missing is parsed from nothing."""
    texts = sections(output)
    return Facts({fact.name: fact.parse(texts.get(fact.name, "")) for fact in facts})

"""One script that reads many facts, and the reading of its output."""

from __future__ import annotations

from collections.abc import Sequence

from spark_cluster.core.framing import MARK, READ, blocks
from spark_cluster.facts.base import Fact, Facts, ProbeContext

#: Starts every script of ours: who came in over SSH, and where their home is, also under sudo.
PRELUDE = """\
SPARK_USER=${SUDO_USER:-$(id -un)}
SPARK_HOME=$(getent passwd "$SPARK_USER" | cut -d: -f6)
"""

_FACT = "spark-cluster-fact"
_READ = f"{READ}{_FACT}"

#: What begins a fact's part of the script.
BEGIN = f'echo; echo "{MARK}"\'{_FACT} '


def script(facts: Sequence[Fact[object]], context: ProbeContext) -> str:
    """The probe: each fact's output between its mark and the next; errors are part of it.

    An empty line before each mark ends an output that has no newline at its end.
    """
    parts = [PRELUDE]
    for fact in facts:
        parts.append(f"{BEGIN}{fact.name}'\n{{\n:\n{fact.script(context).rstrip()}\n}} 2>&1\n")
    parts.append(f"{BEGIN}.'\n")
    return "".join(parts)


def sections(output: str) -> dict[str, str]:
    """The output of each fact by its name. The last mark is missing if the probe broke off."""
    return {name.strip(): text.removesuffix("\n") for name, text in blocks(output, _READ)}


def complete(output: str, facts: Sequence[Fact[object]] = ()) -> bool:
    """Whether the probe reached its end, and nothing of these facts was lost on the way."""
    found = sections(output)
    return "." in found and all(fact.name in found for fact in facts)


def parse(output: str, facts: Sequence[Fact[object]]) -> Facts:
    """The readings of a probe that is complete."""
    texts = sections(output)
    return Facts({fact.name: fact.parse(texts.get(fact.name, "")) for fact in facts})

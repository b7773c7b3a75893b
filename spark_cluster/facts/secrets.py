"""The node's file of secrets: who may read it, and which names stand in it. Never a value."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.engines.spec import host_path
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.lines import Lines


@dataclass(frozen=True)
class SecretsFact:
    """`mode` in octal and `owner` of the file, empty if there is none; `user` is who came in over
    SSH; `names` have a value."""

    mode: str = ""
    owner: str = ""
    user: str = ""
    names: frozenset[str] = frozenset()

    @property
    def is_private(self) -> bool:
        """Nobody but its owner may read it, and that is the user or root."""
        return self.mode in ("600", "400") and self.owner in (self.user, "root")


def _script(context: ProbeContext) -> str:
    deployment = context.deployment
    if deployment is None or not any(spec.secrets for spec in deployment.containers):
        return "true"
    return f"""\
_f={host_path(deployment.secrets_file)}
echo "user $SPARK_USER"
if [ -e "$_f" ]; then
  stat -L -c 'file %a %U' "$_f"
  sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=..*$/name \\1/p' "$_f"
fi
"""


def parse(text: str) -> SecretsFact:
    lines = Lines(text)
    (mode, owner), *_ = (*lines.words("file", 2), ("", ""))
    names = frozenset(name for (name,) in lines.words("name", 1))
    return SecretsFact(mode, owner, lines.first("user"), names)


SECRETS = Fact("secrets", _script, parse)

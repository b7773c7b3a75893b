"""What the engine's server says of its work, on the host of rank 0.

The port stands in a label of the container that runs, so that no recipe is needed. Where docker
does not answer, its records on disk have it: the server may be well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.labels import LABEL
from spark_cluster.core.ours import LABELS, NO_PORT, OURS
from spark_cluster.core.shell import ASK_DOCKER
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.docker import NO_ANSWER
from spark_cluster.facts.docker_records import HEADS
from spark_cluster.serving import api, metrics
from spark_cluster.serving.apis import APIS


@dataclass(frozen=True)
class EngineFact:
    """`healthy` is the answer of /health, or of what the API has for it; None if nobody was
    asked: no head of ours runs."""

    healthy: bool | None = None
    metrics: metrics.Metrics = field(default_factory=metrics.Metrics)


def _script(_: ProbeContext) -> str:
    paths = "".join(f"    {name}) _path={found.well} ;;\n" for name, found in APIS.items())
    return f"""\
{OURS}{LABELS}_all=
if [ -z "${{_docker_hangs:-}}" ] && _ids=$(_ours --filter label={LABEL}.role=head); then
  for _id in $_ids; do
    _all="$_all$({ASK_DOCKER} inspect --format '{{{{json .Config.Labels}}}}' "$_id" 2>/dev/null)
"
  done
else
  case $? in 124 | 137) _docker_hangs="{NO_ANSWER}" ;; esac
  _all=$({HEADS}) || :
fi
printf '%s\\n' "$_all" | while IFS= read -r _labels; do
  [ "$(_label role)" = head ] || continue
  _port=$(_label port)
  case $_port in {NO_PORT}) continue ;; esac
  _path={APIS["openai"].well}
  case $(_label api) in
{paths}  esac
{api.pulse_script("_port", "_path")}
done
true
"""


def parse(text: str) -> EngineFact:
    answers = list(api.responses(text))
    if len(answers) < 2:
        return EngineFact()
    health, page = answers[:2]
    return EngineFact(health.ok, metrics.of_page(page))


ENGINE = Fact("engine", _script, parse)

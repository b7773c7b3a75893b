"""The recipe's secrets: where each comes from, and the shell that hands them to docker.

docker reads them from a file in memory (/run) that only root may read and that is gone when docker
has started the container. No value is in an argument, a plan or a log. The engine needs them in its
environment, so that `docker inspect` on the host shows them to whoever may use docker there.
"""

from __future__ import annotations

from spark_cluster.core.labels import LABEL
from spark_cluster.core.ours import note
from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Change, Problem, found, skip
from spark_cluster.engines.spec import docker_run, host_path
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.secrets import SECRETS
from spark_cluster.facts.storage import MODEL
from spark_cluster.recipes.secret_names import HUB_TOKENS
from spark_cluster.steps.base import NoParams, problem, step
from spark_cluster.steps.view import View

_PREFIX = "SECRET_"


@step(
    "secrets",
    "Check that the recipe's secrets are set",
    NoParams,
    reads=(SECRETS, MODEL, CONTAINERS),
    depends=(SECRETS, MODEL),
)
def secrets(view: View, _: NoParams) -> Assessment:
    names = view.spec.secrets
    if not names:
        return skip("the engine needs none")
    if view.own_container() is not None:
        return skip("this deployment already runs here")
    given = view.serving.secret_values
    fact = view.facts[SECRETS]
    path = view.serving.secrets_file
    notes = [f"{name} from the controller's environment" for name in names if name in given]
    problems: list[Problem] = []
    if fact.mode and not fact.is_private:
        what = f"{path} has mode {fact.mode} of {fact.owner}: others may read it"
        problems.append(problem("SERVE012", what, f"chmod 600 {path} on {view.name}"))
    for name in names:
        if name in given:
            continue
        if name in fact.names:
            notes.append(f"{name} from {path}")
        elif name in HUB_TOKENS and view.facts[MODEL].is_complete:
            notes.append(f"{name} is not set: the model is there already")
        else:
            why = f", and the engine would fetch {view.serving.model}" if name in HUB_TOKENS else ""
            what = f"{name} is not set{why}"
            problems.append(
                problem(
                    "SERVE012",
                    what,
                    f"Set {name} where spark-cluster runs, or put a line {name}=… into {path} on "
                    f"{view.name} (chmod 600).",
                )
            )
    return found(*problems, notes=tuple(notes))


def start(view: View) -> Change:
    """The change that starts this host's container, with its secrets if it has any."""
    spec = view.spec
    what = f"container {spec.name}"
    run = f"_id=$({docker_run(spec)})\n{note(quote(spec.labels[f'{LABEL}.run']))}"
    if not spec.secrets:
        return Change(what, "absent", "running", run)
    given = view.serving.secret_values
    lines = "".join(_line(view, name) for name in spec.secrets)
    file = quote(spec.env_file)
    folder = quote(spec.env_file.rpartition("/")[0])
    commands = (
        f"mkdir -p {folder}\n"
        f"chmod 0700 {folder}\n"
        f"trap 'rm -f {file}' EXIT\n"
        f"rm -f {file}\n"
        f"(umask 077; {{\n{lines}}} > {file})\n"
        f"{run}"
    )
    values = {_PREFIX + name: given[name] for name in spec.secrets if name in given}
    return Change(what, "absent", "running", commands, secrets=values)


def _line(view: View, name: str) -> str:
    """Shell that prints the variable's line, or nothing."""
    if name in view.serving.secret_values:
        return f"  printf '%s\\n' \"{name}=${_PREFIX}{name}\"\n"
    if name in view.facts[SECRETS].names:
        return f"  sed -n '/^{name}=/p' {host_path(view.serving.secrets_file)}\n"
    return "  :\n"

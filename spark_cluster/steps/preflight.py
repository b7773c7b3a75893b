"""What must hold before a launch; each refusal says its reason. One check a step, all pure.

A host on which this very deployment already runs passes: what it holds is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Problem, found, skip
from spark_cluster.core.units import GIB, human_bytes
from spark_cluster.facts.docker import CONTAINERS, IMAGE
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.mesh import MESH, marked
from spark_cluster.facts.models import full_name
from spark_cluster.facts.storage import DISK, MODEL, PORTS, ModelFact
from spark_cluster.steps.base import NoParams, in_use, problem, step
from spark_cluster.steps.containers import unread
from spark_cluster.steps.view import View

_RUNNING = "this deployment already runs here"


@step("no-other-run", "Check that no other run is in the way", NoParams, reads=(CONTAINERS,))
def no_other_run(view: View, _: NoParams) -> Assessment:
    fact = view.facts[CONTAINERS]
    if fact.error:
        return found(problem("DOCKER001", f"docker says: {fact.error}"))
    problems = unread(view)
    own = view.own_container()
    for container in fact.containers:
        if own is not None and container.name == own.name:
            continue
        recipe = container.label("recipe")
        if not container.running:
            what = f"{container.name} of {recipe} is {container.state}"
        elif recipe == view.serving.recipe:
            what = f"{container.name} of {recipe} runs with other settings"
        else:
            what = f"{container.name} serves {recipe}"
        problems.append(problem("SERVE006", what))
    return found(*problems, notes=(_RUNNING,) if own else ())


@step("image", "Check that the image is there, the same on all hosts", NoParams, reads=(IMAGE,))
def image(view: View, _: NoParams) -> Assessment:
    name = view.serving.image
    here = view.facts[IMAGE].id
    sync = f"spark-cluster image sync {full_name(name)}"
    pull = f"spark-cluster image pull {quote(name)}{_to(view)}"
    copied = "@" not in name  # docker keeps no digest when it saves and loads
    if not here:
        elsewhere = any(facts[IMAGE].id for facts in view.all_facts.values())
        remedy = f"{sync}{_to(view)}" if elsewhere and copied else pull
        return found(problem("SERVE002", f"{name} is not on {view.name}", remedy))
    head = view.all_facts[view.serving.head][IMAGE]
    if head.id and here != head.id and not set(head.digests) & set(view.facts[IMAGE].digests):
        return found(
            problem(
                "SERVE003",
                f"{name} is {here[7:19]} here and {head.id[7:19]} on {view.serving.head}",
                f"{sync} --from {view.serving.head}{_to(view)}" if copied else pull,
            )
        )
    pinned = view.serving.image_digest
    told = view.facts[IMAGE].digests
    if pinned and told and not any(each.endswith(f"@{pinned}") for each in told):
        what = f"{name} is {told[0].rpartition('@')[2][:19]}, the recipe means {pinned[:19]}"
        exact = f"{full_name(name).rpartition(':')[0]}@{pinned}"
        return found(problem("SERVE003", what, f"docker pull {exact} && docker tag {exact} {name}"))
    return found(notes=(f"{name} {here[7:19]}",))


@step("model-files", "Check that the model's files are complete", NoParams, reads=(MODEL,))
def model_files(view: View, _: NoParams) -> Assessment:
    if not view.serving.model_folder:
        return skip(f"{view.serving.engine} keeps its models itself, and fetches what is not there")
    problems: list[Problem] = []
    notes: list[str] = []
    for wanted in _models(view):
        faults, note = _of_files(view, wanted)
        problems += faults
        notes += [note] if note else []
    return found(*problems, notes=tuple(notes))


@dataclass(frozen=True)
class _Wanted:
    """A model of the launch, what a host has of it by the host's name, and what the commands that
    bring it are told."""

    name: str
    revision: str
    asked: str
    facts: Mapping[str, ModelFact]


def _models(view: View) -> Iterator[_Wanted]:
    """The model, which commands know by the recipe, then the drafts, by their names on the hub."""
    serving = view.serving
    every = {host: facts[MODEL] for host, facts in view.all_facts.items()}
    yield _Wanted(serving.model, serving.revision, serving.asked, every)
    for at, draft in enumerate(serving.drafts):
        of_draft = {
            host: (*fact.drafts, *(ModelFact() for _ in serving.drafts))[at]
            for host, fact in every.items()
        }
        yield _Wanted(draft.name, draft.revision, draft.name, of_draft)


def _of_files(view: View, wanted: _Wanted) -> tuple[list[Problem], str]:
    """What is wrong with one model's files here, and what is there."""
    model, name = wanted.facts[view.name], wanted.name
    remedy = _bring(view, wanted)
    if view.serving.downloads and not model.is_complete:
        return [], f"{name} is not complete in {model.path}: the engine fetches it"
    if not model.revision:
        which = "" if wanted.revision == "main" else f" {wanted.revision}"
        what = f"{name}{which} is not in {model.path or 'the model cache'}"
        return [problem("SERVE004", what, remedy)], ""
    faults = []
    if model.missing:
        named = ", ".join(model.missing[:3])
        faults.append(f"{len(model.missing)} files of {name} are missing: {named}")
    if model.partial:
        faults.append(f"{len(model.partial)} downloads of {name} are not finished")
    head = wanted.facts[view.serving.head]
    if head.revision and model.revision != head.revision:
        faults.append(
            f"revision {model.revision[:12]} here, {head.revision[:12]} on {view.serving.head}"
        )
        remedy = f"{_model_command(view, wanted, 'sync')} --from {view.serving.head}"
    if not model.weights and not faults:
        faults.append(f"{name} has no weight files in revision {model.revision[:12]}")
    size = human_bytes(model.weight_bytes)
    which = f"{name}: " if view.serving.drafts else ""
    note = f"{which}{model.weights} weight files, {size}"
    return [problem("SERVE004", what, remedy) for what in faults], note


def _bring(view: View, wanted: _Wanted) -> str:
    """The command that brings the model here: from a host that has it, else from the hub."""
    whole = any(fact.is_complete for fact in wanted.facts.values())
    return _model_command(view, wanted, "sync" if whole else "pull")


def _model_command(view: View, wanted: _Wanted, verb: str) -> str:
    """The recipe knows the cache and the image; the revision may be an option's."""
    revision = "" if wanted.revision == "main" else f" --revision {quote(wanted.revision)}"
    return f"spark-cluster model {verb} {quote(wanted.asked)}{revision}{_to(view)}"


def _to(view: View) -> str:
    """The hosts that shall have it, where a command without `--to` would mean others
    (transfer/plan.py)."""
    groups = list(view.inventory.groups.values())
    usual = groups[0] if len(groups) == 1 else [] if groups else view.inventory.hosts
    hosts = view.serving.hosts
    return "" if set(usual) == set(hosts) else f" --to {','.join(hosts)}"


@step("disk-space", "Check the disk space", NoParams, reads=(DISK, MODEL))
def disk_space(view: View, _: NoParams) -> Assessment:
    model = view.facts[MODEL]
    complete = all(each.is_complete for each in (model, *model.drafts))
    fetched = view.serving.downloads and not complete
    wanted = (view.serving.disk_gib + (view.serving.download_gib if fetched else 0)) * GIB
    if not view.facts[DISK].free:
        return found(problem("HOST003", "df printed nothing"))
    problems = [
        problem(
            "SERVE002",
            f"{human_bytes(free)} free on {path}, {human_bytes(wanted)} needed",
            f"Free space on {path} of {view.name}: `docker image rm` removes an image, "
            "`spark-cluster model rm` a model.",
        )
        for path, free in view.facts[DISK].free.items()
        if free < wanted
    ]
    return found(*problems)


@step("ports-free", "Check that the ports are free", NoParams, reads=(PORTS, CONTAINERS))
def ports_free(view: View, _: NoParams) -> Assessment:
    if view.own_container() is not None:
        return skip(_RUNNING)
    listening = view.facts[PORTS].listening
    if not listening:
        return found(problem("HOST003", "ss lists no port at all, not even sshd's"))
    return found(*in_use("SERVE005", listening, view.serving.ports.get(view.name, ())))


@step("memory", "Check the memory", NoParams, reads=(MEMORY, CONTAINERS))
def memory(view: View, _: NoParams) -> Assessment:
    if view.own_container() is not None:
        return skip(_RUNNING)
    fact = view.facts[MEMORY]
    wanted = view.serving.memory_gib * GIB
    said = f"{human_bytes(fact.available)} of {human_bytes(fact.total)} available"
    if fact.available < wanted:
        return found(problem("SERVE001", f"{said}, {human_bytes(wanted)} needed"))
    return found(notes=(said,))


@step("node-ssh", "Check that the ranks reach each other by SSH", NoParams, reads=(MESH,))
def node_ssh(view: View, _: NoParams) -> Assessment:
    """The head's key and the workers' lists, as `spark-cluster mesh` makes them."""
    if not view.serving.needs_ssh:
        return skip(f"{view.serving.engine} starts its ranks without SSH")
    fact = view.facts[MESH]
    head = view.serving.head
    others = [name for name in view.serving.hosts if name != head]
    missing: list[str] = []
    if view.is_head:
        missing += [] if fact.private and fact.key and fact.sound else [f"{view.name} has no key"]
        unknown = [name for name in others if not marked(fact.known, name)]
        missing += [f"{view.name} does not know {name}" for name in unknown]
    elif not marked(fact.authorized, head):
        missing.append(f"{view.name} does not let {head} in")
    return found(*(problem("SSH001", what, "spark-cluster mesh") for what in missing))

"""What must hold before a launch; each refusal says its reason. One check a step, all pure.

A host on which this very deployment already runs passes: what it holds is its own.
"""

from __future__ import annotations

from spark_cluster.core.step import Assessment, Problem, Step, found, skip
from spark_cluster.core.units import GIB, human_bytes
from spark_cluster.facts.docker import CONTAINERS, IMAGE
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.storage import DISK, MODEL, PORTS
from spark_cluster.steps.base import NoParams, problem
from spark_cluster.steps.view import View

_RUNNING = "this deployment already runs here"


def no_other_run(view: View, _: NoParams) -> Assessment:
    fact = view.facts[CONTAINERS]
    if fact.error:
        return found(problem("DOCKER001", f"docker says: {fact.error}"))
    problems: list[Problem] = []
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


def image(view: View, _: NoParams) -> Assessment:
    name = view.serving.image
    here = view.facts[IMAGE].id
    if not here:
        return found(problem("SERVE002", f"{name} is not on {view.name}", f"docker pull {name}"))
    head = view.all_facts[view.serving.head][IMAGE]
    if head.id and here != head.id and not set(head.digests) & set(view.facts[IMAGE].digests):
        return found(
            problem(
                "SERVE003",
                f"{name} is {here[7:19]} here and {head.id[7:19]} on {view.serving.head}",
            )
        )
    return found(notes=(f"{name} {here[7:19]}",))


def model_files(view: View, _: NoParams) -> Assessment:
    model = view.facts[MODEL]
    name = view.serving.model
    if not model.revision:
        return found(problem("SERVE004", f"{name} is not in {model.path or 'the model cache'}"))
    problems = []
    if model.missing:
        problems.append(
            problem("SERVE004", f"{len(model.missing)} files of {name} are missing: "
                    f"{', '.join(model.missing[:3])}")
        )  # fmt: skip
    if model.partial:
        problems.append(
            problem("SERVE004", f"{len(model.partial)} downloads of {name} are not finished")
        )
    head = view.all_facts[view.serving.head][MODEL]
    if head.revision and model.revision != head.revision:
        problems.append(
            problem("SERVE004", f"revision {model.revision[:12]} here, {head.revision[:12]} on "
                    f"{view.serving.head}")
        )  # fmt: skip
    if not model.weights and not problems:
        problems.append(
            problem("SERVE004", f"{name} has no weight files in revision {model.revision[:12]}")
        )
    size = human_bytes(model.weight_bytes)
    return found(*problems, notes=(f"{model.weights} weight files, {size}",))


def disk_space(view: View, _: NoParams) -> Assessment:
    wanted = view.serving.disk_gib * GIB
    if not view.facts[DISK].free:
        return found(problem("HOST003", "df printed nothing"))
    problems = [
        problem(
            "SERVE002",
            f"{human_bytes(free)} free on {path}, {human_bytes(wanted)} needed",
            f"Free space on {path} of {view.name}: `docker system prune` removes unused images.",
        )
        for path, free in view.facts[DISK].free.items()
        if free < wanted
    ]
    return found(*problems)


def ports_free(view: View, _: NoParams) -> Assessment:
    if view.own_container() is not None:
        return skip(_RUNNING)
    listening = view.facts[PORTS].listening
    if not listening:
        return found(problem("HOST003", "ss lists no port at all, not even sshd's"))
    return found(
        *(
            problem("SERVE005", f"port {port} is in use by {listening[port] or 'another process'}")
            for port in view.serving.ports.get(view.name, ())
            if port in listening
        )
    )


def memory(view: View, _: NoParams) -> Assessment:
    if view.own_container() is not None:
        return skip(_RUNNING)
    fact = view.facts[MEMORY]
    wanted = view.serving.memory_gib * GIB
    said = f"{human_bytes(fact.available)} of {human_bytes(fact.total)} available"
    if fact.available < wanted:
        return found(problem("SERVE001", f"{said}, {human_bytes(wanted)} needed"))
    return found(notes=(said,))


STEPS = (
    Step("no-other-run", "No other run is in the way", NoParams, (CONTAINERS.name,), no_other_run),
    Step("image", "The image is there, the same on all hosts", NoParams, (IMAGE.name,), image),
    Step("model-files", "The model's files are complete", NoParams, (MODEL.name,), model_files),
    Step("disk-space", "Enough disk space", NoParams, (DISK.name,), disk_space),
    Step("ports-free", "The ports are free", NoParams, (PORTS.name, CONTAINERS.name), ports_free),
    Step("memory", "Enough memory", NoParams, (MEMORY.name, CONTAINERS.name), memory),
)

"""Docker answers and can give a container the GPU."""

from __future__ import annotations

from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Change, Problem
from spark_cluster.document import Document
from spark_cluster.facts.docker import DOCKER
from spark_cluster.facts.host import HOST
from spark_cluster.steps.base import problem, step
from spark_cluster.steps.view import View


class Params(Document):
    """`group`: also let the SSH user run docker without sudo. That is root by another name, so it
    is a choice; our own commands use sudo."""

    group: bool = False


@step("docker", "Check that docker can give containers the GPU", Params, reads=(DOCKER, HOST))
def docker(view: View, params: Params) -> Assessment:
    docker = view.facts[DOCKER]
    if not docker.version:
        return Assessment(problems=(problem("DOCKER001", f"docker says: {docker.error}"),))
    problems: tuple[Problem, ...] = ()
    if not docker.gpu:
        problems = (problem("DOCKER002", docker.no_gpu),)
    changes: tuple[Change, ...] = ()
    user = view.facts[HOST].user
    if params.group and not docker.in_group:
        command = f"usermod -aG docker {quote(user)}\n"
        changes = (Change(f"groups of {user}", "without docker", "with docker", command),)
    note = f"docker {docker.version}, GPU by {docker.gpu or 'nothing'}"
    return Assessment(changes=changes, problems=problems, notes=(note,))

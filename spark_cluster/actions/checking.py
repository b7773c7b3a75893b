"""Whether a launch could begin, before anything is taken down for it. Reads, changes nothing."""

from __future__ import annotations

from collections.abc import Collection

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import bind, looking, templates
from spark_cluster.core.error import SparkError
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import CONTAINERS, ContainersFact
from spark_cluster.runner.request import RunRequest
from spark_cluster.runner.run import Run
from spark_cluster.runner.session import Session
from spark_cluster.steps.containers import containers


def obstacles(request: RunRequest, freed: Collection[str], operator: Operator) -> list[str]:
    """What stands against this launch, a line each, host first; empty if nothing does.

    On the hosts `freed` a teardown goes before it: what that alters is no obstacle there.
    """
    playbook = bind(request)
    with looking(request.inventory, request.hosts, operator, request.deployment) as session:
        if session.lost:
            return _away(session)
        run = Run(request, session, playbook, lambda _: None, templates=templates())
        try:
            run.plan()
        except SparkError:
            if session.lost:
                return _away(session)
            raise
        hung = [
            f"{name}: docker says: {found.error}"
            for name in session.alive
            if name in freed
            if (found := run.view(name).facts.get(CONTAINERS)) is not None and found.error
        ]
        for name in set(freed).intersection(session.alive):
            # What runs there now is no reason to skip a step that must work once it is gone.
            host = session.hosts[name]
            host.facts = host.facts.updated(Facts({CONTAINERS.name: ContainersFact()}))
        plan = run.assess()
        mended = dict.fromkeys(freed, containers.affects)
        refused = [*run.results, *run.refusals(plan, mended, patient=False)]
        return hung + [
            f"{each.host}: {each.summary}" + (f" ({each.error.remedy})" if each.error else "")
            for each in refused
        ]


def _away(session: Session) -> list[str]:
    return [f"{name} is away: {error.message}" for name, error in session.lost.items()]

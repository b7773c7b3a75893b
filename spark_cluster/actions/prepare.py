"""`launch --prepare`: fetch what is missing, then launch; and how long that will take."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from spark_cluster.actions import launch as launching
from spark_cluster.actions.deploying import handed_on
from spark_cluster.actions.launch import LaunchOutcome
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Active, Outcome, activate, bind, looking, templates
from spark_cluster.core.error import SparkError
from spark_cluster.core.event import Event, Note
from spark_cluster.core.result import Result
from spark_cluster.core.secret import Secret
from spark_cluster.core.units import human_seconds
from spark_cluster.runner.history import past_runs
from spark_cluster.runner.prepare import Preparation
from spark_cluster.runner.remote_program import diagnosed
from spark_cluster.runner.request import RunRequest
from spark_cluster.runner.run import Run
from spark_cluster.runner.transfer import Transfer
from spark_cluster.steps.preflight import image, model_files
from spark_cluster.transfer.forecast import IMAGE, Expected, Experience, experience, off, total

#: The checks of a launch that a preparation makes good.
_MADE_GOOD = (image.name, model_files.name)


@dataclass(frozen=True)
class ForecastPart:
    """A part that is missing: an image or a model, by a download on a host or a copy from `source`
    to all `hosts`. `bytes`: to each host; `basis`: what the seconds come from."""

    what: str
    name: str
    way: str
    source: str
    hosts: tuple[str, ...]
    bytes: int | None
    seconds: float | None
    basis: str


@dataclass(frozen=True)
class Forecast(Event):
    """What will be fetched before the launch: `bytes` that travel and `seconds`, null where one
    part is not known. `unknown` says why, `no_room` which host has too little, and how little."""

    kind: str = field(default="forecast", init=False)
    parts: tuple[ForecastPart, ...]
    bytes: int | None
    seconds: float | None
    unknown: tuple[str, ...]
    no_room: dict[str, str]


def prepare_and_launch(
    request: RunRequest,
    name: str,
    operator: Operator,
    *,
    dry_run: bool = False,
    no_wait: bool = False,
    commands: bool = False,
) -> LaunchOutcome:
    """Fetch what is missing, and launch if all of it came. What stands in the way of the launch
    anyway is told before anything is fetched. `dry_run`: the forecast and the plan."""
    if dry_run or not _refused(request, operator):
        prepared = prepare(request, operator, dry_run=dry_run)
        if prepared.exit_code:
            return LaunchOutcome(**vars(prepared))
    outcome = launching.launch(
        request, name, operator, dry_run=dry_run, no_wait=no_wait, commands=commands
    )
    left = frozenset(one for one in outcome.in_the_way if one[0] not in _MADE_GOOD)
    return replace(outcome, in_the_way=left)


def prepare(request: RunRequest, operator: Operator, *, dry_run: bool = False) -> Outcome:
    """Fetch what the launch of `request` needs and its hosts have not, as a run of its own, whose
    end says how long each part took beside its forecast. `dry_run`: the forecast alone.

    Raises SparkError for a model that its hub does not give; then nothing was fetched.
    """
    deployment = request.deployment
    assert deployment is not None
    inventory = request.inventory
    others = [host for host in inventory.hosts if host not in deployment.hosts]
    run = RunRequest(
        "prepare",
        "",
        [*deployment.hosts, *others],
        inventory,
        deployment=deployment,
        note=f"what {deployment.recipe} needs, to {', '.join(deployment.hosts)}",
        all_hosts_needed=False,
    )
    token = handed_on({"HF_TOKEN"}, os.environ).get("HF_TOKEN", Secret(""))
    with activate(run, operator, journal=not dry_run) as active:
        transfer = Transfer(active.session, active.listener)
        found = Preparation(transfer, inventory, deployment, run.verb, token)
        parts = found.missing()
        expected = found.foretell(parts, _experience(str(inventory.path)))
        size, seconds = total(expected)
        no_room = found.no_room(parts)
        rows = tuple(ForecastPart(**{**one.as_data(), "hosts": one.part.hosts}) for one in expected)
        active.listener(Forecast(rows, size, seconds, tuple(found.unknown), no_room))
        if dry_run:
            return active.finish([], data={"plan": [one.as_data() for one in expected]})
        if no_room:
            return active.finish([_lacks(transfer, expected, *one) for one in no_room.items()])
        return _fetch(active, found, expected)


def _fetch(active: Active, found: Preparation, expected: Sequence[Expected]) -> Outcome:
    size, seconds = total(expected)
    began = time.monotonic()
    results = found.bring(expected)
    took = time.monotonic() - began
    data = {
        "parts": found.done,
        "forecast": {"bytes": size, "seconds": seconds},
        "took": round(took, 1),
        "off": off(seconds, took),
    }
    if expected and seconds and all(result.status.good for result in results):
        more = round(100 * (took / seconds - 1))
        compared = f"{abs(more)} % {'longer' if more > 0 else 'less'}" if more else "the same"
        said = f"fetched in {human_seconds(took)}; the forecast was {human_seconds(seconds)}"
        active.listener(Note(f"{said}: {compared}"))
    return active.finish(results, data=data)


def _experience(inventory: str) -> Experience:
    """What the journals of this machine tell of the inventory's hosts."""
    return experience(
        entry.get("data") or {}
        for past in past_runs()
        if past.inventory == inventory
        for entry in past.entries
        if entry["kind"] == "run_finished"
    )


def _lacks(transfer: Transfer, expected: Sequence[Expected], host: str, why: str) -> Result:
    """A host whose disks cannot hold what would be brought to it."""
    parts = [one.part for one in expected if host in one.part.hosts]
    code = "IMAGE005" if all(part.what == IMAGE for part in parts) else "MODEL007"
    names = ", ".join(dict.fromkeys(part.name for part in parts))
    error = diagnosed(code, f"{why}: {names}", host)
    return transfer.finish(host, "disk-space", "Check the disk space", error=error)


def _refused(request: RunRequest, operator: Operator) -> bool:
    """Whether something that no preparation makes good stands in the way of the launch."""
    playbook = bind(request)
    with looking(request.inventory, request.hosts, operator, request.deployment) as session:
        if session.lost:
            return True
        run = Run(request, session, playbook, lambda _: None, templates=templates())
        try:
            plan = run.plan()
        except SparkError:
            return True
        bad = [*run.results, *run.refusals(plan)]
        return any(result.step not in _MADE_GOOD for result in bad)

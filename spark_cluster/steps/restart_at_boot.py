"""The ranks come back by themselves: a supervisor on each host, installed or removed.

It is written when a token has come back, so that a launch that fails is left for its logs.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from spark_cluster.core.labels import RESTARTS
from spark_cluster.core.shell import write_file
from spark_cluster.core.step import Assessment, Change, Problem, skip
from spark_cluster.document import Document, word
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.storage import PORTS
from spark_cluster.facts.supervisor import (
    DECLINED,
    FOLDER,
    NAME,
    RUNS,
    SCRIPT,
    SUPERVISOR,
    UNIT,
)
from spark_cluster.steps import supervisor
from spark_cluster.steps.base import problem, step
from spark_cluster.steps.view import View


class Params(Document):
    """`state`: on, off, or keep: as the last launch of this recipe left it. `port` is where the
    ranks' supervisors hear each other, `swap` off turns it off before a start. `seconds` is the
    time for them to find each other."""

    state: Literal["on", "off", "keep"] = "keep"
    port: int = Field(default=29477, ge=1024, le=65535)
    swap: Literal["off", "keep"] = "off"
    seconds: float = Field(default=120.0, gt=0)

    _words = field_validator("state", "swap", mode="before")(word)


@step(
    "restart-at-boot",
    "Set whether the ranks restart at boot",
    Params,
    reads=(SUPERVISOR, CONTAINERS, PORTS),
    titles={
        "on": "Turn restart at boot on",
        "off": "Turn restart at boot off",
        "keep": "Keep restart at boot as it was",
    },
    affects=(CONTAINERS, PORTS),
    wait=lambda params: float(params.seconds),
)
def restart_at_boot(view: View, params: Params) -> Assessment:
    fact = view.facts[SUPERVISOR]
    if _is_wanted(view, params):
        return _installed(view, params)
    only = view.options.recipe
    if fact.present and only and fact.recipe and fact.recipe != only:
        return skip(f"what is started again here is {fact.recipe}")
    changes = [_removal(fact.recipe)] if fact.present else []
    changes += _choice(view, params)
    first = view.first[SUPERVISOR]
    if not changes and not first.present and first.declined == fact.declined:
        return skip("nothing of it is here")
    return Assessment(changes=tuple(changes))


def _choice(view: View, params: Params) -> list[Change]:
    """A launch that turns it off says so to a later relaunch, which goes by the containers' labels;
    a teardown removes what was said of them."""
    declined = view.facts[SUPERVISOR].declined
    if view.deployment is None:
        runs = {each.label("run") for each in view.facts[CONTAINERS].containers}
        kept = runs - {each.label("run") for each in view.meant(view.facts[CONTAINERS])}
        if not declined or declined in kept:
            return []
        return [Change(DECLINED, "there", "gone", f"rm -f {DECLINED}\n")]
    own = view.own_container()
    if params.state != "off" or own is None or own.labels.get(RESTARTS) != "on":
        return []
    run = own.label("run")
    if declined == run:
        return []
    return [Change(DECLINED, "absent", f"launch {run}", write_file(DECLINED, f"{run}\n", 0o644))]


def _is_wanted(view: View, params: Params) -> bool:
    if params.state != "keep" or view.deployment is None:
        return params.state == "on"
    known = (view.all_facts[name][SUPERVISOR].recipe for name in view.serving.hosts)
    return view.serving.recipe in known


def _installed(view: View, params: Params) -> Assessment:
    fact = view.facts[SUPERVISOR]
    faults = tuple(_faults(view, params))
    if faults:
        return Assessment(problems=faults)
    script = supervisor.script(view, port=params.port, swap=params.swap)
    unit = supervisor.unit(view)
    sums = {UNIT: supervisor.digest(unit), SCRIPT: supervisor.digest(script)}
    if dict(fact.sums) != sums or not fact.enabled or not fact.active:
        # What an earlier launch left in memory is not about these containers.
        forget = "" if fact.launch == supervisor.launch_of(view) else f"rm -rf {FOLDER}\n"
        commands = (
            f"{write_file(SCRIPT, script, 0o755)}{write_file(UNIT, unit, 0o644)}{forget}"
            f"systemctl daemon-reload\nsystemctl enable --quiet {NAME}\nsystemctl restart {NAME}\n"
        )
        before = f"that of {fact.recipe}" if fact.present and fact.recipe else "absent"
        if fact.sums == sums:
            before = "not running" if fact.enabled else "not enabled"
        elif fact.recipe == view.serving.recipe:
            before = "another version"
        return Assessment(changes=(Change(UNIT, before, "enabled and running", commands),))
    if fact.says != RUNS:
        said = fact.says or "it has said nothing yet"
        fault = problem("SERVE013", f"the supervisor of rank {view.spec.rank}: {said}")
        return Assessment(problems=(fault,), waiting=(said,))
    return Assessment(notes=(f"rank {view.spec.rank} is started again when it ends, and at boot",))


def _faults(view: View, params: Params) -> list[Problem]:
    fact = view.facts[SUPERVISOR]
    faults = [
        problem("HOST001", f"{program} is not installed", f"Install {program} on {view.name}.")
        for program in fact.missing
    ]
    who = view.facts[PORTS].listening.get(params.port)
    if who is not None and not fact.active and len(view.serving.hosts) > 1:
        remedy = "`--set restart-at-boot.port=NUMBER` takes another one."
        faults.append(
            problem("SERVE005", f"port {params.port} is in use by {who or 'a process'}", remedy)
        )
    return faults


def _removal(recipe: str) -> Change:
    """Bounded, and the files go first: whatever systemd does, the next boot starts nothing."""
    commands = (
        f"rm -f {UNIT} {SCRIPT} /etc/systemd/system/multi-user.target.wants/{NAME}\n"
        f"rmdir {SCRIPT.rpartition('/')[0]} 2>/dev/null || true\n"
        f"timeout -k 5 20 systemctl stop {NAME} 2>/dev/null ||\n"
        f"  timeout -k 5 5 systemctl kill --signal=KILL {NAME} || true\n"
        f"rm -rf {FOLDER}\n"
        "timeout -k 5 10 systemctl daemon-reload || true\n"
        f"timeout -k 5 5 systemctl reset-failed {NAME} 2>/dev/null || true\n"
    )
    return Change(UNIT, f"there, for {recipe}" if recipe else "there", "gone", commands)

"""What actions tell beside the events of a run, as lines for a person."""

from __future__ import annotations

from pathlib import Path

from spark_cluster.actions.events import (
    Collecting,
    FailingOver,
    NotLaunched,
    Relaunching,
    Resuming,
    Waiting,
)
from spark_cluster.actions.verify.probe import Measuring
from spark_cluster.actions.verify.traffic import Interval, LookingOn, NotJudged, Unjudged
from spark_cluster.cli.views import verdict
from spark_cluster.core.event import Event
from spark_cluster.core.units import human_seconds
from spark_cluster.places import short


def lines(event: Event) -> list[str]:
    """Empty for an event that says nothing to a person."""
    match event:
        case Relaunching():
            hosts = ", ".join(event.hosts)
            said = [f"relaunch of {event.recipe} on {hosts}: down, then up again"]
            if event.settings_differ:
                said.append(
                    "  with other settings than now: the recipe, or spark-cluster, has changed"
                )
            return said
        case FailingOver():
            return _failing_over(event)
        case NotLaunched():
            return [_not_launched(event)]
        case Resuming() if not event.hosts:
            but = f", but for {', '.join(event.rest)}" if event.rest else ""
            return [f"every teardown with {short(Path(event.inventory))} came to its end{but}"]
        case Waiting():
            return [f"waiting for {', '.join(event.hosts)}, at most {event.minutes:g} minutes"]
        case Collecting():
            return [f"collecting from {', '.join(event.hosts)}: up to 90 s each, all at once"]
        case LookingOn():
            return [f"  watching the traffic that is there for {event.seconds:g} s"]
        case Measuring():
            least = human_seconds(event.count * event.seconds)
            return [f"  {event.count} measurements of {event.seconds} s each: at least {least}"]
        case Interval():
            return verdict.interval_lines(event)
        case Unjudged():
            what = f"what runs is not known yet: {'; '.join(event.unseen)}"
            what = what if event.unseen else "nothing of ours runs"
            return [f"{event.time.astimezone():%H:%M:%S}  {what}"]
        case NotJudged():
            return [f"          {line}" for line in verdict.not_judged(event.others)]
    return []


def _failing_over(event: FailingOver) -> list[str]:
    said = [f"failover of {event.recipe} without {', '.join(event.without)}"]
    for each in event.rejected:
        said.append(f"  not on {', '.join(each.hosts)}: {'; '.join(each.missing)}")
    if event.takes_down:
        said.append(f"  takes down what is left of it on {', '.join(event.takes_down)}")
    if not event.choices_known:
        said.append(
            "  how it was launched cannot be read: it gets the recipe's defaults, or the --profile "
            "and --with that are given here, and no restart at boot"
        )
    head = f", head {event.hosts[0]}" if len(event.hosts) > 1 else ""
    said.append(f"  serves on {', '.join(event.hosts)}{head}: nothing is missing there")
    return said


def _not_launched(event: NotLaunched) -> str:
    if not event.goes_on:
        return f"{event.recipe} was not launched: the teardown is not complete"
    return (
        f"nothing of {event.recipe} is left on {', '.join(event.hosts)}, though less memory is "
        "available: the launch goes on, and measures what it needs"
    )

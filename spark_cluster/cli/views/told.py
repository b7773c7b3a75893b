"""What actions tell beside the events of a run, as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spark_cluster.actions.events import (
    Collecting,
    FailingOver,
    Judged,
    NotLaunched,
    Relaunching,
    Resuming,
    Waiting,
)
from spark_cluster.actions.prepare import Forecast
from spark_cluster.actions.verify.collective import CollectiveMeasured, CollectiveStarted
from spark_cluster.actions.verify.probe import Measured, Measuring
from spark_cluster.actions.verify.traffic import Interval, LookingOn, NotJudged, Unjudged
from spark_cluster.cli.views import collective, forecast, verdict
from spark_cluster.core.event import Event
from spark_cluster.core.units import human_bytes, human_seconds
from spark_cluster.places import short
from spark_cluster.terminal.printing import Shown


def lines(event: Event, *, verbose: bool) -> Iterator[Shown]:
    """Nothing for an event that says nothing to a person."""
    match event:
        case Judged():
            yield from verdict.lines(event, verbose=verbose)
        case Measured():
            yield from verdict.bandwidth(event)
        case CollectiveStarted():
            most = human_bytes(max(event.sizes))
            yield f"  all-reduces of up to {most} in {event.image} on {', '.join(event.hosts)}"
        case CollectiveMeasured():
            yield from collective.lines(event, verbose=verbose)
        case Relaunching():
            yield f"relaunch of {event.recipe} on {', '.join(event.hosts)}: down, then up again"
            if event.settings_differ:
                yield "  with other settings than now: the recipe, or spark-cluster, has changed"
        case Forecast():
            yield from forecast.lines(event)
        case FailingOver():
            yield from _failing_over(event)
        case NotLaunched(goes_on=False):
            yield f"{event.recipe} was not launched: the teardown is not complete"
        case NotLaunched():
            yield (
                f"nothing of {event.recipe} is left on {', '.join(event.hosts)}, though less "
                "memory is available: the launch goes on, and measures what it needs"
            )
        case Resuming() if not event.hosts:
            but = f", but for {', '.join(event.rest)}" if event.rest else ""
            yield f"every teardown with {short(Path(event.inventory))} came to its end{but}"
        case Waiting():
            yield f"waiting for {', '.join(event.hosts)}, at most {event.minutes:g} minutes"
        case Collecting():
            yield f"collecting from {', '.join(event.hosts)}: up to 90 s each, all at once"
        case LookingOn():
            yield f"  watching the traffic that is there for {event.seconds:g} s"
        case Measuring():
            least = human_seconds(event.count * event.seconds)
            yield f"  {event.count} measurements of {event.seconds} s each: at least {least}"
        case Interval():
            yield from verdict.interval_lines(event)
        case Unjudged():
            what = f"what runs is not known yet: {'; '.join(event.unseen)}"
            what = what if event.unseen else "nothing of ours runs"
            yield f"{event.time.astimezone():%H:%M:%S}  {what}"
        case NotJudged():
            yield from (f"          {line}" for line in verdict.not_judged(event.others))


def _failing_over(event: FailingOver) -> Iterator[str]:
    yield f"failover of {event.recipe} without {', '.join(event.without)}"
    for each in event.rejected:
        yield f"  not on {', '.join(each.hosts)}: {'; '.join(each.missing)}"
    if event.takes_down:
        yield f"  takes down what is left of it on {', '.join(event.takes_down)}"
    if not event.choices_known:
        yield (
            "  how it was launched cannot be read: it gets the recipe's defaults, or the --profile "
            "and --with that are given here, and no restart at boot"
        )
    head = f", head {event.hosts[0]}" if len(event.hosts) > 1 else ""
    yield f"  serves on {', '.join(event.hosts)}{head}: nothing is missing there"

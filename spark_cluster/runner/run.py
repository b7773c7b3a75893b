"""Plan and apply a playbook over the hosts of a session."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from spark_cluster.core.error import Interrupted, SparkError, StepFailed
from spark_cluster.core.event import Listener, StepStarted
from spark_cluster.core.plan import Plan, PlannedStep
from spark_cluster.core.result import Result
from spark_cluster.core.step import Assessment, Problem, Traffic
from spark_cluster.facts import probe
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.facts.lock import LOCK, Holder
from spark_cluster.facts.table import FACTS
from spark_cluster.playbook.loader import BoundPlaybook
from spark_cluster.runner.guard import Armed, Guard
from spark_cluster.runner.lock import PREEMPTIBLE, Locks, in_use
from spark_cluster.runner.outcome import (
    as_result,
    change_script,
    failure,
    present_addresses,
    result_of,
    silent_peers,
    with_secrets,
)
from spark_cluster.runner.request import RunRequest
from spark_cluster.runner.session import HostSession, Session, tail
from spark_cluster.runner.waiting import wait
from spark_cluster.steps.view import View

#: For the one reading of everything: where docker hangs, each question to it has its own limit.
_PLAN_SECONDS = 180.0


@dataclass
class Run:
    """A request's playbook over one session. `plan()`, then `apply(plan)`."""

    request: RunRequest
    session: Session
    playbook: BoundPlaybook
    listener: Listener
    facts: Mapping[str, Fact[object]] = field(default_factory=lambda: FACTS)
    templates: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, Facts] | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        self.inventory = self.request.inventory
        self.results: list[Result] = []
        self._dirty: dict[str, set[str]] = {name: set() for name in self.session.hosts}
        self._failed: set[str] = set()
        self._ended: dict[str, SparkError] = {}
        self._locks = Locks(self.session, self.request.verb, self.listener)

    def leave_out(self, names: Sequence[str]) -> None:
        """Run without these steps."""
        steps = tuple(p for p in self.playbook.steps if p.step.name not in names)
        self.playbook = replace(self.playbook, steps=steps)

    # Reading and planning

    def plan(self) -> Plan:
        """Read every fact of every step in one exec per host, then assess. Changes nothing.

        Raises the error of a host that is lost meanwhile, if all are needed.
        """
        wanted = self._facts_of(self.playbook.steps)

        def read(host: HostSession) -> None:
            if wanted:
                host.read(wanted, timeout=_PLAN_SECONDS)
            host.first = host.facts

        self._lose(self.session.each(self.session.alive, read))
        self._heed_stop()
        if self.request.all_hosts_needed and self.session.lost:
            raise self.session.away()
        return self.assess()

    def assess(self) -> Plan:
        """What the steps make of what was read last."""
        assessments = {
            (planned.index, name): self._assess(planned, name)
            for planned in self.playbook.steps
            if planned.step.traffic is None
            for name in self.session.alive
        }
        return Plan(self.playbook.name, self.playbook.title, self.playbook.steps, assessments)

    def refusals(
        self,
        plan: Plan,
        mended: Mapping[str, Collection[str]] | None = None,
        *,
        patient: bool = True,
    ) -> list[Result]:
        """Problems that no step of this plan will have mended by then: reasons not to begin.

        `mended`: facts of a host that something before this plan will alter (a teardown).
        `patient`: what a step would wait for counts as no problem yet.
        """
        touched = {name: set((mended or {}).get(name, ())) for name in self.session.alive}
        refused: list[Result] = []
        for planned, assessments in plan:
            for name, assessment in assessments.items():
                step = planned.step
                altered = touched[name] & set(step.depends or step.reads)
                waits = patient and assessment.waiting
                if assessment.problems and not waits and not altered:
                    refused.append(failure(name, planned, assessment.problems))
            for name, assessment in assessments.items():
                if assessment.changes:
                    self._mark(touched, planned, name)
        return refused

    def heed_others(self, refused: Sequence[Result]) -> None:
        """Raises Locked if another run holds a host that refuses: its half-done work is in the way,
        and no remedy but waiting is right."""
        hosts = {result.host for result in refused}.intersection(self.session.alive)
        found = self.session.each(hosts, lambda host: host.read([LOCK])[LOCK].run)
        for name, holder in found.items():
            if not isinstance(holder, str) or not holder:
                continue
            if Holder.of(holder).verb not in self._preempt():
                raise in_use(name, holder)

    def _facts_of(self, steps: Sequence[PlannedStep]) -> list[Fact[object]]:
        names = dict.fromkeys(
            name for planned in steps if planned.step.traffic is None
            for name in planned.step.reads
        )  # fmt: skip
        return [self.facts[name] for name in names]

    def _assess(self, planned: PlannedStep, name: str) -> Assessment:
        return planned.assess(self._seen(planned, name))

    def _seen(self, planned: PlannedStep, name: str) -> View:
        """What this step may see: the facts that it declares."""
        return self.view(name).seen_by(planned.step.name, planned.step.reads)

    def view(self, name: str) -> View:
        """What the steps see of this host now."""
        host = self.session.hosts[name]
        return View(
            host=self.inventory.hosts[name],
            inventory=self.inventory,
            facts=host.facts,
            all_facts=self.session.all_facts(),
            first=host.first,
            deployment=self.request.deployment,
            templates=self.templates,
            options=self.request.options,
            before=self.before,
            output=self.output,
        )

    # Applying

    def apply(self, plan: Plan) -> list[Result]:
        """Carry the plan out, step by step; all hosts finish a step before the next begins."""
        if any(assessment.changes for assessment in plan.assessments.values()):
            self._lock()
        try:
            for planned in plan.steps:
                if self.session.stop.requested or not self.session.alive:
                    break
                if self._failed and not self.request.carry_on:
                    break
                self._step(planned)
        finally:
            self._locks.release()
        self._heed_stop()
        return self.results

    def _heed_stop(self) -> None:
        if self.session.stop.requested:
            raise Interrupted(
                f"stopped before the end of {self.playbook.name}",
                remedy="What was done stands above. Run the command again: it goes on from there.",
            )

    def _preempt(self) -> tuple[str, ...]:
        forced = (*PREEMPTIBLE, "bootstrap", "teardown")
        return forced if self.request.options.force else self.request.preempt

    def _lock(self) -> None:
        self._locks.take(
            preempt=self._preempt(),
            needed=self.request.needs_lock,
            lose=lambda name, outcome: self._lose({name: outcome}),
        )

    def _step(self, planned: PlannedStep) -> None:
        step = planned.step
        names = self.session.alive
        self.listener(StepStarted(step.name, planned.title, tuple(names)))
        if step.traffic is None:
            self._refresh(planned, names)
        else:
            self._stimulate(planned, names)
        if self.request.all_hosts_needed and self.session.lost:
            return
        assessments = {name: self._assess(planned, name) for name in self.session.alive}
        seconds = planned.guard_seconds
        if seconds is not None and any(a.changes for a in assessments.values()):
            self._guarded(planned, assessments, seconds)
            return

        def work(host: HostSession) -> Result:
            try:
                return self._on_host(planned, host, assessments[host.name])
            except SparkError as error:
                self._ended[host.name] = error
                raise

        for name, outcome in self.session.each(assessments, work).items():
            self._finish(name, planned, outcome)

    def _refresh(self, planned: PlannedStep, names: Sequence[str]) -> None:
        """Read again what earlier changes may have altered."""
        stale = [name for name in names if self._dirty[name] & set(planned.step.reads)]
        self._read(planned, stale)

    def _read(self, planned: PlannedStep, names: Sequence[str]) -> None:
        facts = [self.facts[name] for name in planned.step.reads]

        def read(host: HostSession) -> None:
            host.read(facts)
            self._dirty[host.name] -= set(planned.step.reads)

        self._lose(self.session.each(names, read), planned)

    def _stimulate(self, planned: PlannedStep, names: Sequence[str]) -> None:
        """Read, make traffic on one host, read again."""
        self._read(planned, names)
        self.before, self.output = self.session.all_facts(), None
        for name in self.session.alive:
            traffic = planned.traffic(self._seen(planned, name))
            if traffic is not None:
                self._make_traffic(planned, traffic)
        self._read(planned, self.session.alive)

    def _make_traffic(self, planned: PlannedStep, traffic: Traffic) -> None:
        script = probe.PRELUDE + traffic.script
        outcome = self.session.each(
            [traffic.host], lambda host: host.run(script, timeout=traffic.timeout)
        )[traffic.host]
        if isinstance(outcome, SparkError):
            self._lose({traffic.host: outcome}, planned)
        else:
            self.output = outcome.stdout

    def _on_host(self, planned: PlannedStep, host: HostSession, assessment: Assessment) -> Result:
        started = time.monotonic()
        step = planned.step
        changed = assessment.changes
        if changed and not assessment.problems:
            self._locks.check(host)
            self._change(planned, host, assessment)
            assessment = self._assess(planned, host.name)
        if assessment.waiting and step.wait is not None:
            assessment = self._wait(planned, host)
        result = result_of(host.name, planned, assessment, changed)
        return replace(result, seconds=time.monotonic() - started)

    def _change(self, planned: PlannedStep, host: HostSession, assessment: Assessment) -> None:
        """The commands and the second reading, in one exec."""
        facts = [self.facts[name] for name in planned.step.reads]
        commands = "".join(change.commands for change in assessment.changes)
        script = change_script(
            self.request.run, planned.step.name, with_secrets(assessment.changes)
        )
        done = host.run(script + probe.script(facts, host.context), timeout=planned.step.timeout)
        self._mark(self._dirty, planned, host.name)
        if done.dropped or not probe.complete(done.stdout, facts):
            limit = f"not within {planned.step.timeout:.0f} s" if done.timed_out else ""
            raise StepFailed(
                f"{'; '.join(change.what for change in assessment.changes)}: "
                f"{limit or f'the commands ended with status {done.status}'}",
                host=host.name,
                step=planned.step.name,
                command=commands.strip().split("\n")[0][:300],
                stderr=tail(done.stderr or done.stdout),
                remedy="Mend what the host says, then run again: finished steps are not repeated.",
            )
        host.take(done, facts)
        self._dirty[host.name] -= set(planned.step.reads)

    def _mark(self, table: dict[str, set[str]], planned: PlannedStep, name: str) -> None:
        """What a change on `name` makes stale there, and on the others what depends on all."""
        affected = set(planned.step.affects)
        across = {fact for fact in affected if self.facts[fact].across}
        for other, names in table.items():
            names |= affected if other == name else across

    def _wait(self, planned: PlannedStep, host: HostSession) -> Assessment:
        facts = [self.facts[name] for name in planned.step.reads]

        def look() -> Assessment:
            if self.request.all_hosts_needed and self._ended:
                return Assessment(problems=tuple(map(_in_vain, self._ended.items())))
            self._locks.check(host)
            host.read(facts)
            return self._assess(planned, host.name)

        return wait(planned, host.name, look, self.listener, self.session.stop)

    def _guarded(
        self, planned: PlannedStep, assessments: dict[str, Assessment], seconds: int
    ) -> None:
        """Apply on all hosts, then check on all: jumbo frames need both ends of a cable."""
        guard = Guard(
            self.request.run, seconds, self.listener, self.session.stop, self._locks.take_again
        )
        changing = {
            name for name, assessment in assessments.items()
            if assessment.changes and not assessment.problems
        }  # fmt: skip

        def arm(host: HostSession) -> Armed | Result:
            if host.name not in changing:
                return result_of(host.name, planned, assessments[host.name], ())
            self._locks.check(host)
            return guard.apply(host, assessments[host.name].changes)

        first = {name: self.session.hosts[name].first for name in assessments}
        present = present_addresses(first, changing, self.inventory)
        started = time.monotonic()
        armed = self.session.each(assessments, arm)
        facts = [self.facts[name] for name in (*planned.step.reads, *planned.step.affects)]

        def confirm(host: HostSession) -> Result:
            state = armed[host.name]
            if isinstance(state, SparkError):
                raise state
            if isinstance(state, Result):
                return state

            def differences(_: Facts) -> list[str]:
                assessment = self._assess(planned, host.name)
                changes = [f"{c.what} is {c.before}, not {c.after}" for c in assessment.changes]
                if not planned.step.keeps_peers:
                    return changes
                return [*changes, *silent_peers(host.first, host.facts, present)]

            guard.check(state, list(dict.fromkeys(facts)), differences)
            result = result_of(host.name, planned, Assessment(), assessments[host.name].changes)
            return replace(result, seconds=time.monotonic() - started)

        for name, outcome in self.session.each(armed, confirm).items():
            self._mark(self._dirty, planned, name)
            self._finish(name, planned, outcome)

    def _finish(self, name: str, planned: PlannedStep, outcome: Result | SparkError) -> None:
        result = outcome if isinstance(outcome, Result) else as_result(name, planned, outcome)
        self.results.append(result)
        if not result.status.good:
            self._failed.add(result.host)
        self.listener(result.told())

    def _lose(self, outcomes: Mapping[str, object], planned: PlannedStep | None = None) -> None:
        """A host whose reading failed is out of the run; what it was doing is its result."""
        for name, outcome in outcomes.items():
            if not isinstance(outcome, SparkError):
                continue
            self.session.hosts[name].lost = outcome
            self._finish(name, planned or self.playbook.steps[0], outcome)


def _in_vain(ended: tuple[str, SparkError]) -> Problem:
    name, error = ended
    return Problem("", f"not waited for any longer: {name}: {error.message}", error.remedy)

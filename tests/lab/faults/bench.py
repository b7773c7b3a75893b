"""One fault after the other on the same rack: bring it about, look, converge, count."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.lab.faults.driver import GUARD_SECONDS, Controller, Told
from tests.lab.faults.hosts import Rack
from tests.lab.faults.invariants import Known, Sights, lies, nothing_left, nothing_lost
from tests.lab.faults.sight import look
from tests.lab.faults.spaces import eventually

#: Keeps a word and a value with the report of the test that runs.
Record = Callable[[str, object], None]

COUNTED = "counted"


@dataclass
class Bench:
    """`state` is what the hosts are known to be in: fresh, ready (for a launch), serving, or
    empty: nobody knows."""

    rack: Rack
    controller: Controller
    known: Known
    state: str = ""
    complaints: list[str] = field(default_factory=list)
    record: Record = lambda word, value: None

    # Before the fault

    def prepare(self, phase: str) -> None:
        """The hosts as they are before a bootstrap, a launch or a teardown."""
        wanted = {"bootstrap": "fresh", "launch": "ready", "teardown": "serving"}[phase]
        if self.state == "ready":
            self._swap_on()
        if self.state == wanted:
            return
        if wanted == "fresh" or self.state not in ("ready", "serving"):
            self._clear()
            self.rack.renew()
            self.state = "fresh"
        if wanted != "fresh" and self.state == "fresh":
            self._expect(self.controller.bootstrap(), 0)
            self._swap_on()
            self.state = "ready"
        if wanted == "serving" and self.state == "ready":
            self._expect(self.controller.launch(), 4)
        if wanted == "ready" and self.state == "serving":
            self._expect(self.controller.teardown(), 0)
        self.state = wanted

    def _clear(self) -> None:
        """Docker's folder is not on the disk that is wiped: no container may be left in it."""
        for host in self.rack.hosts.values():
            if host.is_on:
                host.on("docker ps -aq | xargs -r docker rm -f")

    def _swap_on(self) -> None:
        for host in self.rack.hosts.values():
            host.on('[ -n "$(sed 1d /proc/swaps)" ] || swapon /swap.img')

    @staticmethod
    def _expect(told: Told, code: int) -> None:
        assert told.code == code, str(told)

    # After it

    def look(self) -> Sights:
        return {name: look(host) for name, host in self.rack.hosts.items()}

    def say(self, complaints: Iterable[str], when: str) -> None:
        self.complaints += [f"{when}: {complaint}" for complaint in complaints]

    def examine(self, told: Told, *, untouched: Iterable[str] | None = None) -> None:
        """Right after the fault. `untouched` are the hosts that the fault did not hit: what was
        said of the others was true when it was said."""
        self.state = ""
        hosts = list(self.rack.hosts) if untouched is None else list(untouched)
        if told.code < 0:
            runs = {past["run"]: past for past in self.controller.history()}
            past = runs.get(told.run)
            # Killed at the last event: whether the journal had it already is chance.
            ended = any(event["kind"] == "run_finished" for event in told.events)
            if told.run and (past is None or (past["exit_code"] is not None and not ended)):
                self.say(["it does not say that the run broke off"], "history")
            self._until_quiet()
        sights = self.look()
        self.say(nothing_lost(self.known, sights.values(), settled=False), "after the fault")
        self.say(lies(self.known, told, sights, hosts), f"{told.verb} said")

    def _until_quiet(self) -> None:
        """The controller is dead: its lock goes, and the commands that it sent come to an end."""
        for host in self.rack.hosts.values():
            try:
                eventually(lambda h=host: "free" in look(h).lines, 10, "the lock is free")  # type: ignore[misc]
                eventually(lambda h=host: "shell" not in look(h).lines, 60, "its scripts end")  # type: ignore[misc]
            except TimeoutError as error:
                self.say([f"{host.name}: {error}"], "after the controller's death")

    def settle(self) -> bool:
        """Wait until no guard is armed: confirmed, or taken back by itself in its time. Whether one
        was taken back."""
        armed = [name for name, sight in self.look().items() if sight.armed]
        try:
            eventually(
                lambda: not any(sight.armed for sight in self.look().values()),
                2 * GUARD_SECONDS, "every guard has ended",
            )  # fmt: skip
        except TimeoutError as error:
            self.say([str(error)], "guard")
        sights = self.look()
        self.say(nothing_lost(self.known, sights.values(), settled=True), "settled")
        back = [n for n in armed if sights[n].netplan == self.known.fresh[n].netplan]
        return bool(back)

    def converge(self, phase: str, *, again: bool = True) -> None:
        """The next ordinary run does what the broken one should have, the one after it nothing;
        then teardown leaves nothing. The hosts are ready, as far as nothing is complained of."""
        run = {"bootstrap": self.controller.bootstrap, "launch": self.controller.launch,
               "teardown": self.controller.teardown}[phase]  # fmt: skip
        code = 4 if phase == "launch" else 0
        for what in ("next run", "run after it") if again else ("next run",):
            told = run()
            if what == "next run" and phase == "launch" and "SERVE006" in told.codes:
                # Containers that a power cut ended are in the way: it says so, and to tear down.
                self._judge(self.controller.teardown(), 0, "teardown")
                self._swap_on()
                told = run()
            self._judge(told, code, what)
            if what == "run after it" and "changed" in told.statuses():
                self.say([f"it changed something again\n{told}"], what)
        if phase == "bootstrap":
            self._swap_on()
        if phase == "launch":
            self._judge(self.controller.teardown(), 0, "teardown")
        sights = self.look()
        self.say(nothing_left(sights.values()), "in the end")
        self.say(nothing_lost(self.known, sights.values(), settled=True), "in the end")
        self.state = "" if self.complaints else "ready"

    def _judge(self, told: Told, code: int, what: str) -> None:
        bad = told.statuses() - {"ok", "changed", "skipped"}
        if told.verb == "launch":
            bad = {e["step"] for e in told.results if e["status"] == "failed"} - {"rdma-verdict"}
        if told.code != code or bad:
            self.say([f"exit code {told.code}, not {code}\n{told}"], what)
        self.say(lies(self.known, told, self.look(), self.rack.hosts), f"{what} said")

    def count(self, fault: str, phase: str, *words: str) -> None:
        """Into the table; fails the test if there was a complaint."""
        complaints, self.complaints = self.complaints, []
        outcome = "wrong" if complaints else "converged"
        self.record(COUNTED, [fault, phase, "runs", outcome, *words])
        if complaints:
            self.state = ""
        assert not complaints, "\n".join(complaints)


def table(counted: Iterable[list[str]]) -> list[str]:
    """What `count` recorded, a line for each fault in each phase."""
    rows: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for fault, phase, *words in counted:
        rows[fault, phase].update(words)
    if not rows:
        return []
    total: Counter[str] = sum(rows.values(), Counter())
    first = ["runs", "converged", "wrong", "reverted"]
    known = dict.fromkeys([*first, *sorted(total)])
    shown = [word for word in known if total[word] or word == "wrong"]
    lines = [["fault", "phase", *shown]]
    lines += [[*key, *(str(row[word]) for word in shown)] for key, row in sorted(rows.items())]
    lines.append(["all", "", *(str(total[word]) for word in shown)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in lines
    ]

"""The program as a library: what `import spark_cluster` gives.

    from spark_cluster import Cluster

    cluster = Cluster("sparks.yaml", on_event=print)
    cluster.bootstrap()
    launched = cluster.launch("qwen3-vl-235b")
    print(launched.serving.endpoint, launched.verdict.kind)

Nothing here prints, asks or ends the process. Whatever goes wrong with a host, a file or a name is
a `SparkError` (core/error.py has the tree): it says what happened, where, and what to do next.
What a run did on each host is no exception but a `Result` in its outcome, whose `exit_code` is the
one that the command line ends with: 0 all is well, 1 a step failed, 3 a host's state is not known,
4 a check did not hold.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from spark_cluster.actions import (
    bootstrap,
    doctor,
    failover,
    launch,
    relaunch,
    run,
    status,
    teardown,
)
from spark_cluster.actions import prepare as preparing
from spark_cluster.actions.deploying import Choices
from spark_cluster.actions.launch import LaunchOutcome
from spark_cluster.actions.operator import Operator, unheard
from spark_cluster.actions.run import Outcome
from spark_cluster.actions.status import StatusReport
from spark_cluster.actions.verify import counters, traffic
from spark_cluster.actions.verify.common import Verified
from spark_cluster.core.error import SparkError
from spark_cluster.core.event import Event
from spark_cluster.core.plan import Plan
from spark_cluster.core.secret import Secret
from spark_cluster.doctor.examine import examine
from spark_cluster.doctor.finding import Finding
from spark_cluster.inventory import loader
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.request import RunRequest
from spark_cluster.transport.protocol import Connector

T = TypeVar("T")


class Cluster:
    """The hosts of an inventory.

    `inventory` is a file, or an inventory that was loaded; None: $SPARK_CLUSTER_INVENTORY, the
    user's own, or the one that ships, as on the command line. `on_event` hears every event of a
    run as it happens, one at a time, from threads of the run. `ask_password` gives the sudo
    password once for all hosts, when one of them wants it; without it such a host is an error.
    `connect` reaches a host in another way than SSH.

    Raises InputError with file, line and field of what is wrong in the inventory.
    """

    def __init__(
        self,
        inventory: str | Path | Inventory | None = None,
        *,
        on_event: Callable[[Event], None] = unheard,
        ask_password: Callable[[], Secret] | None = None,
        connect: Connector | None = None,
    ) -> None:
        if isinstance(inventory, Inventory):
            self.inventory = inventory
        else:
            self.inventory = run.load_inventory(None if inventory is None else str(inventory))
        self._operator = Operator(on_event, ask_password, connect)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of all hosts, in the inventory's order."""
        return tuple(self.inventory.hosts)

    def select(self, hosts: Sequence[str] | None) -> list[str]:
        """The hosts of these names and groups; all for None. Raises InputError for a name that the
        inventory does not have."""
        return loader.select(self.inventory, None if hosts is None else list(hosts))

    # Setting up

    def plan_bootstrap(self, hosts: Sequence[str] | None = None) -> Plan:
        """What `bootstrap` would change on which host: one reading of each, nothing changed.

        Raises Unreachable if a host is away.
        """
        return self._plan(bootstrap.bootstrap_request(self.inventory, self.select(hosts)))

    def bootstrap(
        self,
        hosts: Sequence[str] | None = None,
        *,
        settings: Sequence[str] = (),
        allow_management: bool = False,
        take_over: bool = False,
    ) -> Outcome:
        """Make hosts ready: network, RDMA, swap, docker. A second run changes nothing.

        `settings` are `step.parameter=value`; `allow_management` lets the interface that SSH came
        in on change; `take_over` removes netplan files of others that configure only our
        interfaces. Raises Unreachable if a host is away: nothing was changed anywhere. Raises
        Locked if another run holds a host.
        """
        request = bootstrap.bootstrap_request(
            self.inventory,
            self.select(hosts),
            settings=settings,
            allow_management=allow_management,
            take_over=take_over,
        )
        return run.run_playbook(request, self._operator)

    # Serving

    def plan_launch(
        self, recipe: str, *, group: str | None = None, choices: Choices | None = None
    ) -> Plan:
        """What `launch` would change on which host; nothing changed. Raises as `launch` does."""
        return self._plan(self._launch_request(recipe, group, choices, ()))

    def launch(
        self,
        recipe: str,
        *,
        group: str | None = None,
        choices: Choices | None = None,
        settings: Sequence[str] = (),
        wait: bool = True,
        prepare: bool = False,
    ) -> LaunchOutcome:
        """Serve a recipe, by its name or its file, on a group of hosts; default: the only group.

        `choices` are its profile and options, `anyway` and restarts at boot; without `wait` it
        returns once the server is started, before it gave a token. With `prepare` the image and the
        model are fetched first where they are missing. The outcome's `serving` is None
        if nothing was begun, its `verdict` None where no tokens travel between hosts.

        Raises InputError for what is wrong in the recipe or does not go together, Unreachable if a
        host is away, Locked if another run holds a host.
        """
        request = self._launch_request(recipe, group, choices, settings)
        launches = preparing.prepare_and_launch if prepare else launch.launch
        return launches(request, recipe, self._operator, no_wait=not wait)

    def relaunch(self, recipe: str | None = None) -> Outcome:
        """Take down what runs and launch the same again; `recipe` may be left out where only one is
        launched.

        Raises CheckFailed, with nothing changed, if it could not be launched again; Unreachable if
        a host of it is away.
        """
        return relaunch.relaunch(self.inventory, recipe, self._operator)

    def failover(self, recipe: str, without: Sequence[str]) -> Outcome:
        """Serve a recipe on other hosts than these: what is left of it is taken down first.

        Raises CheckFailed, Unreachable or InputError, with nothing changed, if no hosts can carry
        it.
        """
        avoided = self.select(without)
        return failover.failover(self.inventory, recipe, avoided, self._operator)

    def teardown(
        self, recipe: str = "", hosts: Sequence[str] | None = None, *, force: bool = False
    ) -> Outcome:
        """Stop and remove our containers, of one recipe or all, and look again.

        A host that is away has a result that is `unknown`, and exit code 3. `force` kills at once,
        without the lock, within 5 minutes. Raises Unreachable if no host is reached.
        """
        request = teardown.teardown_request(
            self.inventory, self.select(hosts), recipe=recipe, force=force
        )
        return teardown.take_down(request, self._operator)

    # Proving

    def verify(self, hosts: Sequence[str] | None = None, *, tokens: int | None = None) -> Verified:
        """Prove that what runs sends its tokens by RDMA: counters, `tokens` of our own (the
        playbook's number if None), counters. The outcome's `judged` has the verdict.

        Raises CheckFailed (RDMA013) if nothing of ours runs, InputError for what runs on one host,
        Unreachable if no host answers.
        """
        names = self.select(hosts)
        return counters.verify(self.inventory, names, self._operator, tokens=tokens)

    def verify_live(self, hosts: Sequence[str] | None = None, *, seconds: float = 5.0) -> Verified:
        """The same by the traffic that is there within `seconds`; nothing is asked of the server.
        Raises as `verify` does."""
        names = self.select(hosts)
        return traffic.live(self.inventory, names, self._operator, seconds=seconds)

    # Looking

    def status(self, hosts: Sequence[str] | None = None) -> StatusReport:
        """What of ours runs where, with rates of about a second. A host that is away is a row whose
        `state` is unknown."""
        return status.status(self.inventory, self.select(hosts), self._operator)

    def doctor(self, hosts: Sequence[str] | None = None) -> list[Finding]:
        """What is wrong on the hosts and between them, the gravest first. Nothing is changed.

        A host that is away is a finding (HOST010).
        """
        return examine(doctor.read(self.inventory, self.select(hosts), self._operator))

    # Inside

    def _launch_request(
        self, recipe: str, group: str | None, choices: Choices | None, settings: Sequence[str]
    ) -> RunRequest:
        chosen = choices or Choices()
        if group is not None:
            chosen = replace(chosen, group=group)
        return launch.launch_request(self.inventory, recipe, chosen, settings)

    def _plan(self, request: RunRequest) -> Plan:
        plan = run.run_playbook(request, self._operator, dry_run=True).plan
        assert plan is not None
        return plan


def events(action: Callable[[Callable[[Event], None]], T]) -> Generator[Event, None, T]:
    """The events of an action one by one, as it goes on in a thread of its own; the generator
    returns what the action returns, and raises what it raises.

    `action` gets the listener to tell events to::

        for event in events(lambda tell: Cluster("sparks.yaml", on_event=tell).bootstrap()):
            ...

    An iteration that is given up does not stop the action.
    """
    told: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    ended: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            ended.append(action(told.put))
        except BaseException as error:
            failed.append(error)
        finally:
            told.put(None)

    thread = threading.Thread(target=work, name="spark-cluster", daemon=True)
    thread.start()
    while (event := told.get()) is not None:
        yield event
    thread.join()
    if failed:
        raise failed[0]
    return ended[0]


__all__ = ["Choices", "Cluster", "Outcome", "SparkError", "events"]

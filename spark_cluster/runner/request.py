"""What a run is asked to do: the one description of it, from the command line or the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from spark_cluster.engines.spec import Deployment
from spark_cluster.inventory.models import Inventory
from spark_cluster.playbook.loader import Setting
from spark_cluster.runner.journal import new_run
from spark_cluster.steps.view import Options


@dataclass(frozen=True)
class RunRequest:
    """A playbook over some hosts; `playbook` is empty for a verb that has none.

    settings   over the playbook's own: what the verb sets, and `step.parameter=value` of the user
    needs      steps that the playbook must have
    note, warnings  what is told when the run starts
    all_hosts_needed  steps compare the hosts: the run ends when one of them is lost
    preempt    verbs whose runs' locks may be taken from them
    carry_on   a host that fails does not end the run for the others (teardown)
    needs_lock without a host's lock nothing is done; else it is told, and done all the same
    run        the run's name, which sorts by time
    """

    verb: str
    playbook: str
    hosts: Sequence[str]
    inventory: Inventory
    settings: Sequence[Setting] = ()
    options: Options = field(default_factory=Options)
    deployment: Deployment | None = None
    note: str | None = None
    warnings: tuple[str, ...] = ()
    all_hosts_needed: bool = True
    preempt: tuple[str, ...] = ()
    carry_on: bool = False
    needs_lock: bool = True
    needs: tuple[str, ...] = ()
    run: str = field(default_factory=new_run)

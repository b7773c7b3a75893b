"""Traffic of our own over every half, measured and judged; no model is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Active, Outcome, activate, lost_results
from spark_cluster.actions.verify.common import verify_request
from spark_cluster.core.error import InputError
from spark_cluster.core.event import Event, as_json
from spark_cluster.inventory.models import Inventory
from spark_cluster.rdma import bandwidth
from spark_cluster.rdma.bandwidth import Finding, Row
from spark_cluster.runner.bandwidth import Bench, Test, journals, results, tests


@dataclass(frozen=True)
class Measuring(Event):
    """So many measurements of so many seconds each, one after the other."""

    kind: str = field(default="measuring", init=False)
    count: int
    seconds: int


@dataclass(frozen=True)
class Measured(Event):
    """What every half delivers, beside what its link should and what was measured before."""

    kind: str = field(default="measured", init=False)
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]


def probe(
    inventory: Inventory,
    hosts: Sequence[str],
    operator: Operator,
    *,
    seconds: int = 5,
    both: bool = True,
) -> Outcome:
    """Measure each half between neighbours, each way, and with `both` both halves at once; compare
    with earlier runs. Exit code 4 on a finding, 3 if a host is away.

    Raises InputError if no two of the hosts have rails in one network.
    """
    request = verify_request(inventory, hosts)
    wanted = links(inventory, hosts, both=both)
    with activate(request, operator) as active:
        rows, findings = measure_links(active, wanted, seconds, operator)
        lost = lost_results(active.session, "bandwidth")
        code = 3 if lost else 4 if findings else 0
        data = {"bandwidth": bandwidth.as_data(rows), "findings": as_json(findings)}
        return active.finish([*results(rows), *lost], data=data, code=code)


def links(inventory: Inventory, hosts: Sequence[str], *, both: bool) -> list[Test]:
    """What is to be measured. Raises InputError if no two hosts have rails in one network."""
    wanted = tests(inventory, list(hosts), both=both)
    if not wanted:
        raise InputError(
            f"no two of {', '.join(hosts)} have rails in one network",
            place=str(inventory.path),
            remedy="Give both ends of a cable addresses in one subnet, or name other --hosts.",
        )
    return wanted


def measure_links(
    active: Active, wanted: Sequence[Test], seconds: int, operator: Operator
) -> tuple[list[Row], list[Finding]]:
    """Measure, judge and tell. Raises StepFailed where that cannot be done, Locked, Interrupted."""
    request = active.request
    before = bandwidth.earlier(journals(request.run), str(request.inventory.path), request.verb)
    bench = Bench(active.session, active.listener, seconds, before)
    bench.look()
    active.listener(Measuring(len(wanted), seconds))
    rows, findings = bandwidth.judge(bench.run(wanted))
    operator.listener(Measured(tuple(rows), tuple(findings)))
    return rows, findings

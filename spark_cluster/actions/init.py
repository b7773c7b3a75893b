"""Ask the nodes how they are cabled, and make an inventory of it. Changes nothing on them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from spark_cluster.actions.operator import Operator
from spark_cluster.core.error import InputError, SparkError
from spark_cluster.inventory.draft import render
from spark_cluster.inventory.loader import load
from spark_cluster.inventory.models import Inventory
from spark_cluster.inventory.proposal import propose
from spark_cluster.runner import discover
from spark_cluster.runner.discover import Answer, Candidate


@dataclass(frozen=True)
class Draft:
    """An inventory that was not written yet, as the loader reads it. `left_out` are candidates
    that did not answer; `frames_only` are ports, by host, on which IPv6 is off."""

    text: str
    inventory: Inventory
    left_out: dict[str, SparkError]
    frames_only: dict[str, tuple[str, ...]]


def candidates(ssh_config: str | None) -> list[Candidate]:
    """The hosts that ~/.ssh/config and mDNS know. Raises InputError if there is none."""
    found = list(discover.candidates(ssh_config))
    if not found:
        raise discover.nobody(discover.own_neighbours())
    return found


def draft(
    names: Sequence[str],
    path: Path,
    operator: Operator,
    *,
    ssh_config: str | None = None,
    all_needed: bool = True,
) -> Draft:
    """Ask these hosts, all at once; each sends and listens for discover.LISTEN seconds.

    Raises the error of a host that does not answer, if `all_needed` or if none does.
    """
    answers, failed = discover.ask(
        list(names), operator.reach(), operator.become(), operator.listener, ssh_config=ssh_config
    )
    for error in failed.values():
        if all_needed or not answers:
            raise error
    text = _text(answers, ssh_config)
    off = {answer.node.name: _frames_only(answer) for answer in answers}
    return Draft(text, _checked(text, path), failed, {name: p for name, p in off.items() if p})


def _frames_only(answer: Answer) -> tuple[str, ...]:
    ports = answer.sight.ports.items()
    return tuple(name for name, port in ports if port.ipv6_off and port.carrier)


def _text(answers: list[Answer], config: str | None) -> str:
    sights = {answer.node.name: answer.sight for answer in answers}
    proposal = propose(sights, discover.own_networks())
    head = (
        f"Written by `spark-cluster init` on {datetime.now(UTC):%Y-%m-%d}. Nothing was changed on",
        "the nodes; `spark-cluster plan bootstrap` shows what bootstrap would change.",
    )
    ssh = {"config": config} if config else None
    return render([answer.node for answer in answers], proposal, head=head, ssh=ssh)


def _checked(text: str, path: Path) -> Inventory:
    """What the loader says of it, before it is written anywhere that counts."""

    with tempfile.TemporaryDirectory(prefix="spark-cluster-") as folder:
        draft = Path(folder) / path.name
        draft.write_text(text, encoding="utf-8")
        return load(draft)


def write(path: Path, text: str, *, force: bool) -> None:
    """Raises InputError for a file that exists, without `force`, or that cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if force:
            draft = path.with_name(f"{path.name}.new")
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
            return
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InputError(
            f"{path} exists already and is left as it is",
            remedy="Name another with --output, or replace it with --force.",
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}", remedy="Name another with --output."
        ) from error

"""The doctor: a healthy cluster gives nothing above a note, one fault gives exactly its code."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.doctor import document
from spark_cluster.doctor.catalogue import CATALOGUE
from spark_cluster.doctor.cluster import FACTS, Clock, Cluster
from spark_cluster.doctor.examine import examine, exit_code, repairs
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.table import FACTS as TABLE
from spark_cluster.playbook import loader as playbooks
from spark_cluster.steps import registry

from . import world

FOLDER = world.DATA / "doctor"
CASES = yaml.safe_load((FOLDER / "cases.yaml").read_text(encoding="utf-8"))
HOSTS = tuple(world.inventory().hosts)

#: The controller's clock around a probe that took 2 s, when the hosts' clocks are right.
CLOCK = Clock(1795236744.2, 1795236746.4)


def text(fact: str, host: str, kind: str = "spark") -> str:
    """What the fact's shell prints on a healthy host of that kind."""
    for folder in dict.fromkeys((kind, "spark")):
        path = FOLDER / folder / f"{fact}.txt"
        if path.exists():
            own = "11" if host == "spark-3" else "10"
            return (
                path.read_text(encoding="utf-8")
                .replace("@OWNHEX@", f"{int(own):02x}")
                .replace("@OWN@", own)
            )
    return world.healthy(fact, host)


@functools.cache
def healthy(host: str, kind: str) -> Facts:
    return Facts({fact.name: fact.parse(text(fact.name, host, kind)) for fact in FACTS})


def cluster(changes: Mapping[str, Mapping[str, Any]] | None = None, kind: str = "spark") -> Cluster:
    """Three healthy hosts, some of their texts changed."""
    facts = {host: healthy(host, kind) for host in HOSTS}
    for host, wanted in (changes or {}).items():
        newer = {
            name: TABLE[name].parse(changed(text(name, host, kind), host, change))
            for name, change in wanted.items()
        }
        facts[host] = facts[host].updated(Facts(newer))
    images = frozenset({"nvcr.io/nvidia/vllm:25.11-py3"})
    return Cluster(world.inventory(), facts, {}, dict.fromkeys(HOSTS, CLOCK), images)


def changed(whole: str, host: str, change: Mapping[str, Any]) -> str:
    """A case's change of one text."""
    if "link" in change:
        first, newline, rest = whole.partition("\n")
        return json.dumps(links(json.loads(first), change["link"])) + newline + rest
    if "file" in change:
        if change["file"] == "@running":
            return world.running(host)
        if change["file"] == "@ray":
            return world.running(host, serving=False)
        if change["file"] == "@exited":
            return world.running(host, state="exited", status=1)
        path: Path = FOLDER / str(change["file"])
        return path.read_text(encoding="utf-8")
    if "text" in change:
        return str(change["text"])
    for old, new in change.get("replace", ()):
        assert old in whole, f"{old!r} is not in the healthy text"
        whole = whole.replace(old, new)
    return whole + str(change.get("append", ""))


def links(entries: list[dict[str, Any]], change: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`ip -j addr` with some interfaces changed, gone or new."""
    found = {entry["ifname"]: entry for entry in entries}
    result = dict(found)
    for name, values in change.items():
        if values is None:
            del result[name]
            continue
        entry = dict(found[values.get("like", name)]) | {"ifname": name}
        if "also" in values:
            entry["addr_info"] = [*entry["addr_info"], values["also"]]
        entry |= {key: value for key, value in values.items() if key not in ("like", "also")}
        result[name] = entry
    return list(result.values())


def short(finding: Finding) -> str:
    words = (finding.code, finding.host, finding.severity.value, finding.repair or "")
    return " ".join(words).strip()


# The healthy clusters


@pytest.mark.parametrize("kind", ["spark", "lab"])
def test_a_healthy_cluster_has_only_notes(kind: str) -> None:
    findings = examine(cluster(kind=kind))
    assert {f.severity for f in findings} <= {Severity.NOTE}, findings
    assert exit_code(findings) == 0
    assert repairs(findings) == {}


def test_the_notes_of_a_healthy_spark() -> None:
    """Docker's DROP on hosts that route nothing, logind's default, no OOM guard, read-ahead."""
    codes = {finding.code for finding in examine(cluster())}
    assert codes == {"NET021", "HOST014", "HOST020", "HOST023"}


# One fault, one code


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_fault_has_its_code(case: dict[str, Any]) -> None:
    before = Counter(short(finding) for finding in examine(cluster()))
    findings = examine(cluster(case["change"]))
    after = Counter(short(finding) for finding in findings)
    assert sorted((after - before).elements()) == sorted(case["finds"])
    assert sorted((before - after).elements()) == sorted(case.get("lacks", []))
    said = "\n".join(f"{finding.what}\n{finding.fix}" for finding in findings)
    for words in case.get("says", ()):
        assert words in said


def test_every_code_has_a_case() -> None:
    told = {word.split()[0] for case in CASES for word in case["finds"]}
    others = {"NET021", "HOST010", "HOST020", "HOST023"}  # a healthy cluster's, and below
    assert set(CATALOGUE) - told - others == set()


def test_the_rules_never_raise_on_hosts_that_said_nothing() -> None:
    nothing = Facts({fact.name: fact.parse("") for fact in FACTS})
    findings = examine(Cluster(world.inventory(), dict.fromkeys(HOSTS, nothing)))
    assert {"HOST003", "DOCKER001", "GPU001"} <= {finding.code for finding in findings}


# A host that is away


def test_a_host_that_is_away_is_a_finding_and_the_others_are_examined() -> None:
    whole = cluster({"spark-2": {"ping": {"replace": [[" yes", " no"]]}}})
    facts = {name: facts for name, facts in whole.facts.items() if name != "spark-3"}
    found = examine(Cluster(whole.inventory, facts, {"spark-3": "no route to host"}))
    assert [short(f) for f in found if f.severity is not Severity.NOTE] == [
        "HOST010 spark-3 critical"
    ]
    assert exit_code(found) == 3


# Clocks


def test_clocks_that_a_slow_exec_cannot_tell_apart_are_not_told() -> None:
    """5 s apart, but the exec took 20 s more than the probe ran."""
    slow = Clock(CLOCK.before - 20, CLOCK.after)
    faulty = cluster({"spark-3": {"clock": {"replace": [["1795236746", "1795236741"]]}}})
    told = Cluster(faulty.inventory, faulty.facts, {}, dict.fromkeys(HOSTS, slow))
    assert "HOST015" not in {finding.code for finding in examine(told)}


def test_a_controller_whose_clock_is_wrong_makes_no_finding() -> None:
    off = Clock(CLOCK.before + 86400, CLOCK.after + 86400)
    whole = cluster()
    told = Cluster(whole.inventory, whole.facts, {}, dict.fromkeys(HOSTS, off))
    assert "HOST015" not in {finding.code for finding in examine(told)}


# The order, the repairs, the texts


def test_the_gravest_comes_first() -> None:
    findings = examine(cluster({"spark-3": {"gpu": {"text": ""}}}))
    ranks = [finding.severity.rank for finding in findings]
    assert ranks == sorted(ranks)
    assert findings[0].code == "GPU001"


def test_repairs_are_steps_of_the_bootstrap_playbook() -> None:
    book = playbooks.load(playbooks.find("bootstrap"), registry(), ())
    steps = {planned.step.name for planned in book.steps}
    assert {entry.repair for entry in CATALOGUE.values() if entry.repair} <= steps


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_is_explained(code: str) -> None:
    found = DIAGNOSES[code]
    for words in (found.title, found.why, found.fix):
        assert words.strip()
        assert "!" not in words


def test_the_doctor_reads_facts_of_the_table() -> None:
    assert {fact.name for fact in FACTS} <= set(TABLE)
    assert FACTS[0].name == "host"
    assert FACTS[-1].name == "clock"


@pytest.mark.skipif(not document.PATH.parent.exists(), reason="no checkout: docs/ is not there")
def test_docs_diagnoses_is_up_to_date() -> None:
    """`python -m spark_cluster.doctor.document` writes it."""
    assert document.PATH.read_text(encoding="utf-8") == document.text()

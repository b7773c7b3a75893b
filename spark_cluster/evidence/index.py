"""The index page of the evidence: what looks wrong first, then what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from spark_cluster.core.printable import one_line
from spark_cluster.core.units import count, human_bytes
from spark_cluster.core.words import sentence
from spark_cluster.doctor.finding import Finding


@dataclass(frozen=True)
class Part:
    """A host's part, its `files` by path. `problem` says why it is missing, broke off or had too
    much; `failed` says of each item that did not end well what became of it; `note` what else a
    reader must know: that it was not collected in /tmp, or that some of it was left out; `cut`
    names the files of which only the newest part is there."""

    host: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    note: str = ""
    cut: frozenset[str] = frozenset()


@dataclass(frozen=True)
class About:
    """When and how it was collected."""

    when: str
    inventory: str
    version: str
    since: str = ""


def wrong(parts: Sequence[Part], findings: Sequence[Finding]) -> list[str]:
    """What looks wrong, a line each: hosts that hang, the doctor's findings, items that hang."""
    told = {part.host for part in parts if part.problem}
    lines = [f"{part.host}: {said}" for part in parts for said in (part.problem, part.note) if said]
    lines += [
        f"{each.host}: {each.code} {each.severity.value}: {each.what}"
        for each in findings
        if not (each.code == "HOST010" and each.host in told)
    ]
    for part in parts:
        lines += [f"{part.host}: {path} {what}" for path, what in part.failed.items()]
    return lines


def page(about: About, parts: Sequence[Part], findings: Sequence[Finding]) -> str:
    """The page in Markdown."""
    return "\n".join(map(one_line, _page(about, parts, findings))) + "\n"


def _page(about: About, parts: Sequence[Part], findings: Sequence[Finding]) -> Iterator[str]:
    yield from (f"# Evidence of {about.when}", "", "## What looks wrong", "")
    lines = wrong(parts, findings)
    yield from (f"- {_flat(line)}" for line in lines)
    if not lines:
        yield "Nothing that the doctor knows, and every item could be collected."
    known = {each.code: each for each in findings}
    if known:
        yield from ("", "| code | what mends it | more |", "|---|---|---|")
        for code, finding in known.items():
            fix = _flat(finding.fix).replace("|", "\\|")
            yield f"| {code} | {fix} | `spark-cluster explain {code}` |"
    yield from ("", "## How it was collected", "")
    yield f"- by spark-cluster {about.version}, inventory {about.inventory}"
    yield f"- container logs and this boot's journal since: {about.since or 'their last lines'}"
    yield "- Values that look like secrets are `***`. Look through it before a stranger gets it."
    for part in parts:
        yield from ("", f"## {part.host}", "")
        if part.problem:
            yield from (sentence(_flat(part.problem)), "")
        total = sum(len(content) for content in part.files.values())
        yield from (f"{count(len(part.files), 'file')}, {human_bytes(total)}.", "")
        for path, content in sorted(part.files.items()):
            said = [part.failed[path]] if path in part.failed else []
            said += ["cut: only its newest part is here"] if path in part.cut else []
            note = f": {'; '.join(said)}" if said else ""
            yield f"- [{path}]({part.host}/{path}) {human_bytes(len(content))}{note}"


def _flat(text: str) -> str:
    return " ".join(text.split())

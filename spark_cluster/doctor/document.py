"""`python -m spark_cluster.doctor.document` writes docs/diagnoses.md from core/diagnoses.yaml."""

from __future__ import annotations

from pathlib import Path

from spark_cluster.core.diagnosis import DIAGNOSES, Diagnosis
from spark_cluster.doctor.catalogue import CATALOGUE

PATH = Path(__file__).parents[2] / "docs" / "diagnoses.md"

_SUBJECTS = {
    "NET": "Cables and network",
    "RDMA": "RDMA",
    "HOST": "The host",
    "DOCKER": "Docker",
    "GPU": "GPU",
    "SERVE": "Serving",
    "RECIPE": "Recipes",
    "MODEL": "Models and images",
    "IMAGE": "Models and images",
    "MON": "Monitoring and services",
    "SVC": "Monitoring and services",
}

_HEAD = """\
# Diagnoses

Written by `python -m spark_cluster.doctor.document` from the program's own tables: change those.
`spark-cluster explain CODE` prints one entry; `spark-cluster doctor` looks for those that have a
severity below. Others are reasons that a step or a verdict gives.

- **critical**: the cluster cannot serve, or not over RDMA.
- **warning**: it serves worse, or will fail some day.
- **note**: worth knowing; the exit code stays 0.

The severity is the usual one; numbers that are worse or better than usual change it. What
`--fix` repairs, it repairs with the named step of the bootstrap playbook, and reads again.
"""


def _subject(code: str) -> str:
    prefix = code.rstrip("0123456789")
    return _SUBJECTS.get(prefix, prefix)


def _row(diagnosis: Diagnosis) -> str:
    entry = CATALOGUE.get(diagnosis.code)
    severity = entry.severity.value if entry else ""
    repair = f"step `{entry.repair}`" if entry and entry.repair else ""
    anchor = diagnosis.code.lower()
    return f"| [{diagnosis.code}](#{anchor}) | {diagnosis.title} | {severity} | {repair} |"


def _entry(diagnosis: Diagnosis) -> str:
    entry = CATALOGUE.get(diagnosis.code)
    lines = [f"### {diagnosis.code}", "", f"**{diagnosis.title}.** {diagnosis.why}", ""]
    lines += [f"What to do: {diagnosis.fix}", ""]
    if entry is not None:
        repaired = f"; `--fix` repairs it (step `{entry.repair}`)" if entry.repair else ""
        lines += [f"Doctor: {entry.severity.value}{repaired}.", ""]
    return "\n".join(lines)


def text() -> str:
    """The whole page."""
    ordered = sorted(DIAGNOSES.values(), key=lambda d: (_rank(d.code), d.code))
    parts = [_HEAD, "| code | what | severity | repaired by `--fix` |", "|---|---|---|---|"]
    parts += [_row(diagnosis) for diagnosis in ordered]
    parts.append("")
    subject = ""
    for diagnosis in ordered:
        if _subject(diagnosis.code) != subject:
            subject = _subject(diagnosis.code)
            parts += [f"## {subject}", ""]
        parts.append(_entry(diagnosis))
    return "\n".join(parts).rstrip("\n") + "\n"


def _rank(code: str) -> int:
    prefixes = list(_SUBJECTS)
    prefix = code.rstrip("0123456789")
    return prefixes.index(prefix) if prefix in prefixes else len(prefixes)


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(text(), encoding="utf-8")

"""The GPU, and the processes on it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_cluster.core.shell import unwaited
from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, always

#: Seconds that nvidia-smi has: it hangs when the driver does, and the probe must not.
SMI_SECONDS = 10

#: How a probe asks nvidia-smi: `_smi ARGUMENT...`, and what it says is in `$_said`.
ASK_SMI = unwaited("_smi", "nvidia-smi", SMI_SECONDS)


@dataclass(frozen=True)
class GpuProcess:
    pid: int
    name: str


@dataclass(frozen=True)
class GpuFact:
    """`names` of the GPUs; `error` is what nvidia-smi said instead."""

    names: tuple[str, ...] = ()
    driver: str = ""
    processes: tuple[GpuProcess, ...] = ()
    error: str = ""


_SCRIPT = f"""\
{ASK_SMI}_smi --query-gpu=name,driver_version --format=csv,noheader || :
printf '%s\\n' "$_said" | sed -n 's/^./gpu,&/p'
_smi --query-compute-apps=pid,process_name --format=csv,noheader || :
printf '%s\\n' "$_said" | sed -n 's/^./app,&/p'
"""

_DRIVER = re.compile(r"[0-9][0-9A-Za-z.+-]{0,31}", re.ASCII)


def parse(text: str) -> GpuFact:
    names: list[str] = []
    processes: list[GpuProcess] = []
    driver, error = "", ""
    for line in text.split("\n"):
        fields = [field.strip() for field in line.split(",")]
        if fields[0] == "gpu" and len(fields) == 3 and _DRIVER.fullmatch(fields[2]):
            names.append(fields[1])
            driver = fields[2]
        elif fields[0] == "app" and len(fields) >= 3 and (pid := number(fields[1])) is not None:
            processes.append(GpuProcess(pid, fields[2]))
        elif line.strip() and not error:
            error = line.removeprefix("gpu,").removeprefix("app,").strip()
    return GpuFact(tuple(names), driver, tuple(processes), error if not names else "")


GPU = Fact("gpu", always(_SCRIPT), parse)

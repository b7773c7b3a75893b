"""What an archive of evidence holds."""

from __future__ import annotations

from spark_cluster.actions.evidence import Collected
from spark_cluster.cli.output import Json
from spark_cluster.core.units import human_bytes


def show(output: Json, found: Collected) -> None:
    """The archive, and what looks wrong."""
    output.json(found)
    output.say(f"{found.path}: {found.files} files, {human_bytes(found.bytes)}")
    if found.wrong:
        output.say("what looks wrong:")
        for line in found.wrong:
            output.say(f"  {line}")
    else:
        output.say("nothing looks wrong to the doctor")
    output.say("next: tar -xzf it and read index.md; `spark-cluster explain CODE` says more")

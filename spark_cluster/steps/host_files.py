"""The recipe's files are on the host; each path names its content, so nothing is overwritten."""

from __future__ import annotations

from spark_cluster.core.shell import write_file
from spark_cluster.core.step import Assessment, Change, Step
from spark_cluster.facts.storage import FILES
from spark_cluster.steps.base import NoParams
from spark_cluster.steps.view import View


def assess(view: View, _: NoParams) -> Assessment:
    present = view.facts[FILES].present
    return Assessment(
        changes=tuple(
            Change(file.path, "absent", "written", write_file(file.path, file.content, 0o600))
            for file in view.serving.files
            if file.path not in present
        )
    )


STEP = Step(
    name="host-files",
    title="Write the recipe's files to the host",
    params=NoParams,
    reads=(FILES.name,),
    assess=assess,
)

"""The recipe's files are on the host; each path names its content, so nothing is overwritten."""

from __future__ import annotations

from spark_cluster.core.shell import write_file
from spark_cluster.core.step import Assessment, Change
from spark_cluster.facts.storage import FILES
from spark_cluster.steps.base import NoParams, step
from spark_cluster.steps.view import View


@step("host-files", "Write the recipe's files to the host", NoParams, reads=(FILES,))
def host_files(view: View, _: NoParams) -> Assessment:
    present = view.facts[FILES].present
    return Assessment(
        changes=tuple(
            Change(file.path, "absent", "written", write_file(file.path, file.content, 0o600))
            for file in view.serving.files
            if file.path not in present
        )
    )

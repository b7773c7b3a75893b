"""A small program of a user: typed, and without a terminal."""

from __future__ import annotations

from spark_cluster import Cluster, SparkError
from spark_cluster.core.event import Event, StepFinished


def tell(event: Event) -> None:
    if isinstance(event, StepFinished) and event.status != "ok":
        print(event.host, event.step, event.status)


def serve(inventory: str, recipe: str) -> str | None:
    """The endpoint of the recipe, or None where it does not serve over RDMA."""
    cluster = Cluster(inventory, on_event=tell)
    try:
        if cluster.bootstrap().exit_code:
            return None
        launched = cluster.launch(recipe)
    except SparkError as error:
        print(error.message, error.remedy)
        return None
    if launched.serving is None or launched.verdict is None or launched.verdict.kind != "rdma":
        cluster.teardown(recipe)
        return None
    return launched.serving.endpoint

"""The services by name: each folder here that has a service.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from spark_cluster.core.data_files import DataTable
from spark_cluster.services.service import Service, load


def _read() -> dict[str, Service]:
    folders = resources.files("spark_cluster.services").iterdir()
    names = sorted(f.name for f in folders if f.is_dir() and (f / "service.yaml").is_file())
    return {name: load(name) for name in names}


SERVICES: Mapping[str, Service] = DataTable(_read)

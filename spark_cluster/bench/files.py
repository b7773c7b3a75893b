"""Results on disk: a JSON file a run. Reads the files of `vllm bench serve`, too."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spark_cluster.bench import vllm_serve
from spark_cluster.bench.results import SCHEMA, Run
from spark_cluster.core.error import InputError, StepFailed

FOLDER = "benchmark_results"


def as_text(run: Run) -> str:
    """The file's text: a line for each level's figures and for each request."""
    levels = []
    for level in run.levels:
        rows = [_compact(request.model_dump(mode="json", exclude_defaults=True))
                for request in level.requests]  # fmt: skip
        head = _compact(level.model_dump(mode="json", exclude={"requests"}))
        levels.append(f'{head[:-1]},"requests":[\n{_COMMA.join(rows)}]}}')
    data = run.model_dump(mode="json", exclude={"levels"})
    head = json.dumps(data, indent=1).removesuffix("\n}")
    return f'{head},\n "levels": [\n{_COMMA.join(levels)}\n ]\n}}\n'


_COMMA = ",\n"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def prove(folder: Path) -> None:
    """Write there and leave nothing behind. Raises StepFailed."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StepFailed(
            f"the results could not be written to {folder}: {error.strerror}",
            remedy="Name another folder with --output; nothing was measured yet.",
        ) from error
    finally:
        with contextlib.suppress(OSError):  # another run may have begun to use it
            for place in missing:
                place.rmdir()


def save(run: Run, folder: Path) -> Path:
    """Write the run's file, whole or not at all: one of before stays. Raises StepFailed."""
    path = folder / f"{run.run}-{run.kind}.json"
    part = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(as_text(run), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        kept = "the levels before are there" if path.exists() else "nothing of this run is kept"
        raise StepFailed(
            f"the results could not be written to {path}: {error.strerror}",
            remedy=f"Make room, or name another folder with --output; {kept}.",
        ) from error
    return path


def holds_result(path: Path) -> bool:
    """Whether there is such a file with a benchmark's results, of whatever version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return vllm_serve.is_result(data) or (isinstance(data, dict) and "schema_version" in data)


def load(path: Path) -> Run:
    """A file of ours, or one of `vllm bench serve --save-result`. Raises InputError."""

    def refused(what: str, remedy: str) -> InputError:
        return InputError(what, place=str(path), remedy=remedy)

    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        where = f"Results lie in {FOLDER}/ of the folder in which the benchmark ran."
        raise refused(f"cannot be read: {error.strerror}", where) from error
    except (ValueError, RecursionError) as error:
        remedy = "Give a file that `spark-cluster bench` wrote."
        raise refused(f"not JSON: {error}", remedy) from error
    if vllm_serve.is_result(data):
        return vllm_serve.as_run(data, path.stem)
    if not isinstance(data, dict) or "schema_version" not in data:
        what = "neither a result of `spark-cluster bench` nor one of `vllm bench serve`"
        raise refused(what, f"Results of ours lie in {FOLDER}/.")
    if data["schema_version"] != SCHEMA:
        raise refused(
            f"schema_version: {data['schema_version']!r}, this program knows {SCHEMA}",
            "Read it with the version of spark-cluster that wrote it: see `program` there.",
        )
    try:
        return Run.model_validate_json(json.dumps(data))
    except ValidationError as error:
        fault = error.errors()[0]
        raise refused(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}",
            "The file was changed or is incomplete; run the benchmark again.",
        ) from error

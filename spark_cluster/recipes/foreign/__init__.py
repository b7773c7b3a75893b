"""Recipes in other tools' formats: read into ours, or refused with the field that has no place.

sparkrun.py and eugr.py know their fields; template.py their placeholders and shell; command.py
what a command line means; theirs.py is what both stand on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spark_cluster.document import Source
from spark_cluster.recipes.foreign import eugr, sparkrun
from spark_cluster.recipes.foreign.theirs import Adopted, Theirs

#: Fields that every recipe of ours has, or its parent.
_OURS = frozenset({"extends", "engine", "image", "requires"})

_THEIRS = frozenset({"container", "recipe_version", "sparkrun_version", "command", "runtime"})

#: What only sparkrun's have.
_SPARKRUN = frozenset({"sparkrun_version", "runtime", "runtime_version", "runtime_config",
                       "model_revision", "min_nodes", "max_nodes", "mode", "metadata", "builder",
                       "benchmark", "executor_config", "distribution_config", "pre_exec",
                       "post_exec", "post_commands"})  # fmt: skip


def adopt(source: Source) -> Source:
    """The recipe as ours, its places still those of the file; ours are left as they are.

    Raises InputError with file, line and field for what cannot be honoured.
    """
    if not is_foreign(source.data):
        return source
    if _is_eugr(source.data):
        theirs = Theirs(source, "spark-vllm-docker")
        data = eugr.convert(theirs)
    else:
        theirs = Theirs(source, "sparkrun")
        data = sparkrun.convert(theirs)
    return Adopted(source, {**data, "note": theirs.note()}, theirs.tool)


def is_foreign(data: Mapping[str, Any]) -> bool:
    return bool(_THEIRS & data.keys()) and not _OURS & data.keys()


def _is_eugr(data: Mapping[str, Any]) -> bool:
    """Both number their formats in one field, and each reads the other's. Format 1 is
    spark-vllm-docker's, unless it has a field of sparkrun's; without a number it is no format of
    spark-vllm-docker, which asks for one, and sparkrun takes it for its own."""
    return sparkrun.version(data) == "1" and "command" in data and not _SPARKRUN & data.keys()

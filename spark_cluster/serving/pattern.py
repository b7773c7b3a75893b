"""A pattern of a log's lines, as the data files write it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator


def _compiled(written: str | list[str]) -> re.Pattern[str]:
    return re.compile(written if isinstance(written, str) else "|".join(written), re.ASCII)


#: ASCII only; of a list one is enough.
Pattern = Annotated[re.Pattern[str], BeforeValidator(_compiled)]

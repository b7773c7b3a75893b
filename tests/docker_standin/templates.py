"""Templates of Go's, as far as the program uses them."""

from __future__ import annotations

import json
import re
from typing import Any

from .containers import Refused


def fill(template: str, values: dict[str, Any]) -> str:
    """Raises Refused for what it does not know: docker would fail, too."""
    listed = re.search(r"\{\{range (\S+)\}\}\{\{(?:println )?\.\}\}(.?)\{\{end\}\}", template)
    if listed:
        words = "".join(f"{word}{listed[2] or chr(10)}" for word in _look_up(listed[1], values))
        template = template[: listed.start()] + words + template[listed.end() :]

    def value(found: re.Match[str]) -> str:
        words = found[1].strip()
        label = re.fullmatch(r'(?:\.Label|index \.Config\.Labels) "([^"]+)"', words)
        if label:
            labels = values.get("Labels") or values["Config"]["Labels"]
            return str(labels.get(label[1], ""))
        if words.startswith("json "):
            return json.dumps(_look_up(words[5:], values), separators=(",", ":"))
        plain = _look_up(words, values)
        return str(plain).lower() if isinstance(plain, bool) else str(plain)

    return re.sub(r"\{\{(.*?)\}\}", value, template).replace("\\n", "\n")


def _look_up(path: str, values: Any) -> Any:
    for name in path.strip(".").split("."):
        if name:
            if not isinstance(values, dict) or name not in values:
                raise Refused(f"template: can't evaluate field {name} in {path}")
            values = values[name]
    return values

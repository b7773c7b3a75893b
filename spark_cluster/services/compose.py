"""A compose file of ours: every container marked, kept within its memory, restarted."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml

from spark_cluster.services.service import LABEL, MARK


def compose_file(name: str, services: dict[str, Any], volumes: tuple[str, ...]) -> str:
    """The text of a compose file. The digest of all of it is a label of each container, so that a
    reading tells whether they run what the file says."""
    marked = {volume: {"labels": {LABEL: name}} for volume in volumes}
    body = {"name": name, "services": services, "volumes": marked}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]
    for service in services.values():
        service["labels"] = {LABEL: digest}
        service["restart"] = "unless-stopped"
    text = yaml.safe_dump(body, sort_keys=False, width=1000)
    return f"{MARK} {name} up`; secrets are in .env beside it. {LABEL}={digest}\n{text}"


def digest_of(text: str) -> str:
    """The digest that stands in the first line."""
    return text.partition("\n")[0].rpartition(f"{LABEL}=")[2]

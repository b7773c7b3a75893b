"""A compose file of ours on a host: every container marked and restarted, every volume marked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import yaml

from spark_cluster.core.data_files import parse_yaml

#: In the first line of each file of ours: a file without it belongs to somebody else.
MARK = "# Written by `spark-cluster services"

#: On our containers: the digest of the compose file that they were made from. On our volumes: the
#: service's name, for a label that changes would make compose want another volume.
LABEL = "spark-cluster.service"


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with each ${NAME} of `values` replaced; any other is docker compose's."""
    for name, value in values.items():
        text = text.replace("${" + name + "}", value)
    return text


def compose_file(name: str, template: str, values: Mapping[str, str]) -> str:
    """The text of a compose file, without the template's own anchors and comments. The digest of
    all of it is a label of each container, so that a reading tells whether they run what the file
    says."""
    content = parse_yaml(template)
    services = _filled_in(content["services"], values)
    volumes = {volume: {"labels": {LABEL: name}} for volume in content["volumes"]}
    body = {"name": name, "services": services, "volumes": volumes}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]
    for service in services.values():
        service["labels"] = {LABEL: digest}
        service["restart"] = "unless-stopped"
    text = yaml.safe_dump(body, sort_keys=False, width=1000)
    return f"{MARK} {name} up`; secrets are in .env beside it. {LABEL}={digest}\n{text}"


def _filled_in(value: Any, values: Mapping[str, str]) -> Any:
    """A copy of the value, so that what an anchor stands for is written out."""
    if isinstance(value, dict):
        return {key: _filled_in(part, values) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled_in(part, values) for part in value]
    return filled(value, values) if isinstance(value, str) else value


def digest_of(text: str) -> str:
    """The digest that stands in the first line."""
    return text.partition("\n")[0].rpartition(f"{LABEL}=")[2]

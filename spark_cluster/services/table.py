"""The services by name."""

from __future__ import annotations

from spark_cluster.services.helicone import HELICONE
from spark_cluster.services.langfuse import LANGFUSE
from spark_cluster.services.phoenix import PHOENIX
from spark_cluster.services.service import Service

SERVICES: dict[str, Service] = {service.name: service for service in (PHOENIX, LANGFUSE, HELICONE)}

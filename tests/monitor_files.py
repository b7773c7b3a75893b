"""The alerts and the dashboard as they are shipped: their schema, and what tests read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from spark_cluster.monitoring import config

FOLDER = Path(config.__file__).parent
RULES = FOLDER / "rules.yml"
DASHBOARD = FOLDER / "dashboard.json"


class _Part(BaseModel):
    """Nothing that is not known: a misspelt field does nothing in Grafana, and says nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)


# Prometheus


class _Labels(_Part):
    severity: Literal["critical", "warning"]
    code: str = ""


class _Annotations(_Part):
    summary: str = Field(min_length=10)
    description: str = Field(min_length=10)


class Alert(_Part):
    """An entry of the rules."""

    alert: str
    expr: str
    wait: str = Field(alias="for", pattern=r"^\d+[sm]$")
    labels: _Labels
    annotations: _Annotations


class _Group(_Part):
    name: Literal["spark-cluster"]
    rules: tuple[Alert, ...] = Field(strict=False)


class _Rules(_Part):
    groups: tuple[_Group] = Field(strict=False)


# Grafana


class _Source(_Part):
    """Of whatever data source is chosen on the page."""

    type: Literal["prometheus"]
    uid: Literal["${datasource}"]


class Target(_Part):
    """A query."""

    ref: str = Field(alias="refId", pattern="^[A-Z]$")
    datasource: _Source
    expr: str
    legend: str = Field(alias="legendFormat", min_length=1)


class Place(_Part):
    """Cells of Grafana's grid, which has 24 columns."""

    x: int = Field(ge=0, lt=24)
    y: int = Field(ge=0)
    w: int = Field(gt=0, le=24)
    h: int = Field(gt=0)


class _Defaults(_Part):
    unit: str
    min: float
    max: float | None = None


class _Matcher(_Part):
    id: Literal["byFrameRefID"]
    options: str


class _Property(_Part):
    id: Literal["unit"]
    value: str


class _Override(_Part):
    matcher: _Matcher
    properties: list[_Property]


class _Fields(_Part):
    defaults: _Defaults
    overrides: list[_Override]


class _Reduced(_Part):
    calcs: list[Literal["lastNotNull"]] = Field(min_length=1)


class _Number(_Part):
    reduce: _Reduced = Field(alias="reduceOptions")


class _Legend(_Part):
    mode: Literal["list"] = Field(alias="displayMode")
    placement: Literal["bottom"]


class _Tooltip(_Part):
    mode: Literal["multi"]


class _Graph(_Part):
    legend: _Legend
    tooltip: _Tooltip


class Panel(_Part):
    """A panel of the dashboard."""

    id: int
    title: str
    description: str
    type: Literal["stat", "gauge", "timeseries"]
    datasource: _Source
    place: Place = Field(alias="gridPos")
    fields: _Fields = Field(alias="fieldConfig")
    options: _Graph | _Number
    targets: list[Target] = Field(min_length=1)

    @property
    def queries(self) -> list[str]:
        return [target.expr for target in self.targets]


class _Time(_Part):
    begin: str = Field(alias="from")
    end: Literal["now"] = Field(alias="to")


class _ModelQuery(_Part):
    query: str
    ref: str = Field(alias="refId")


class _Chosen(_Part):
    text: list[str]
    value: list[str]


class _Variable(_Part):
    name: str
    label: str
    type: Literal["datasource", "query"]
    query: str | _ModelQuery
    datasource: _Source | None = None
    definition: str = ""
    refresh: int = 0
    all: bool = Field(default=False, alias="includeAll")
    multi: bool = False
    all_value: str = Field(default="", alias="allValue")
    current: _Chosen | None = None


class _Variables(_Part):
    list: tuple[_Variable, ...] = Field(strict=False)


class _Annotation(_Part):
    name: str
    enable: bool
    datasource: _Source
    expr: str
    title: str = Field(alias="titleFormat")
    color: str = Field(alias="iconColor")


class _AnnotationList(_Part):
    list: tuple[_Annotation, ...] = Field(strict=False)


class Dashboard(_Part):
    """The dashboard, of the schema of Grafana 11 and 12."""

    uid: str
    title: str
    tags: list[str]
    schema_version: Literal[39] = Field(alias="schemaVersion")
    editable: bool
    tooltip: int = Field(alias="graphTooltip")
    refresh: str
    time: _Time
    timezone: Literal["browser"]
    templating: _Variables
    annotations: _AnnotationList
    panels: list[Panel]


ALERTS = _Rules.model_validate(yaml.safe_load(RULES.read_text(encoding="utf-8"))).groups[0].rules
THE_DASHBOARD = Dashboard.model_validate_json(DASHBOARD.read_text(encoding="utf-8"))
PANELS = THE_DASHBOARD.panels

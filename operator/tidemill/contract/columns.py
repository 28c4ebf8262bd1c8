"""Types that name columns and hold SQL expressions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tidemill.contract.markers import list_set

Column = Annotated[str, Field(min_length=1, max_length=128)]
InputName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$", max_length=63)]
Expression = Annotated[str, Field(min_length=1, max_length=2048)]
Columns = Annotated[tuple[Column, ...], Field(min_length=1, max_length=256, json_schema_extra=list_set())]
Fraction = Annotated[float, Field(ge=0, le=0.9)]

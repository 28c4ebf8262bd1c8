"""The base of every document that Tidemill's parts exchange."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Document(BaseModel):
    """A JSON document: camelCase on the wire, immutable in memory, unknown fields ignored so that versions can differ."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        ser_json_inf_nan="null",
    )

    def to_json(self) -> str:
        """The document as compact JSON, absent fields left out."""
        return self.model_dump_json(by_alias=True, exclude_none=True)

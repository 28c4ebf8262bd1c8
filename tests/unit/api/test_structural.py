"""The translation from pydantic to structural schemas."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field

from tidemill.api.structural import minimal, structural
from tidemill.contract.base import Document
from tidemill.contract.markers import cel, exactly_one, immutable, list_atomic, list_map, list_set, rules


class Leaf(Document):
    """A leaf."""

    size: int = Field(default=3, ge=0, le=10)
    """How large."""
    name: str | None = None


class Choice(Document):
    """A union."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("a", "b")))

    a: Leaf | None = None
    b: Leaf | None = None


class Guarded(Document):
    """An object whose rule reads a defaulted field."""

    model_config = ConfigDict(json_schema_extra=rules(cel("self.mode == 'A'", "only A")))

    mode: Literal["A", "B"] = "A"


class Tree(Document):
    """All that is translated."""

    leaf: Leaf = Leaf()
    other: Leaf = Leaf(size=5)
    """Another one."""
    maybe: Leaf | None = None
    choice: Choice = Choice(a=Leaf())
    guarded: Guarded = Guarded()
    one: Literal["Only"] = "Only"
    ratio: float = Field(default=0.5, gt=0, lt=1)
    big: int = 0
    numbers: tuple[int, ...] = Field(default=(1, 2), json_schema_extra=list_atomic())
    keyed: tuple[Leaf, ...] = Field(default=(Leaf(),), json_schema_extra=list_map("name"))
    names: tuple[str, ...] = Field(default=(), max_length=4, json_schema_extra=list_set())
    fixed: Annotated[tuple[str, ...], Field(json_schema_extra=rules(immutable("fixed")))] = ()
    labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(default={}, max_length=2)
    needed: str


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return structural(Tree)


def walk(node: Any) -> list[dict[str, Any]]:
    """All schemas in a schema."""
    found = [node]
    for sub in node.get("properties", {}).values():
        found += walk(sub)
    for key in ("items", "additionalProperties"):
        if key in node:
            found += walk(node[key])
    return found


def test_references_titles_and_nulls_are_gone(schema: dict[str, Any]) -> None:
    for node in walk(schema):
        assert not {"$ref", "$defs", "title", "anyOf", "allOf", "nullable", "const"} & set(node)
        assert "type" in node


def test_optional_fields_are_not_required_and_have_no_default(schema: dict[str, Any]) -> None:
    assert schema["required"] == ["needed"]
    assert "default" not in schema["properties"]["maybe"]


def test_an_object_gets_only_what_its_fields_defaults_do_not_say(schema: dict[str, Any]) -> None:
    assert schema["properties"]["leaf"]["default"] == {}
    assert schema["properties"]["other"]["default"] == {"size": 5}


def test_an_object_with_rules_keeps_all_values_of_its_default(schema: dict[str, Any]) -> None:
    assert schema["properties"]["guarded"]["default"] == {"mode": "A"}


def test_a_union_member_is_no_default_but_is_said(schema: dict[str, Any]) -> None:
    assert "default" not in schema["properties"]["choice"]
    assert schema["properties"]["choice"]["description"] == "A union. By default {a: {}}."


def test_elements_of_merged_lists_are_no_default(schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    assert "default" not in properties["keyed"]
    assert "default" not in properties["names"]
    assert properties["numbers"]["default"] == [1, 2]


def test_an_immutable_list_is_always_there(schema: dict[str, Any]) -> None:
    assert schema["properties"]["fixed"]["default"] == []


def test_numbers(schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    ratio = {"type": "number", "default": 0.5, "minimum": 0, "exclusiveMinimum": True}
    assert properties["ratio"] == {**ratio, "maximum": 1, "exclusiveMaximum": True}
    assert properties["big"]["format"] == "int64"
    assert properties["leaf"]["properties"]["size"]["format"] == "int32"


def test_constants_and_maps(schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    assert properties["one"]["enum"] == ["Only"]
    assert properties["labels"] == {
        "type": "object",
        "maxProperties": 2,
        "additionalProperties": {"type": "string", "maxLength": 63},
    }


def test_a_fields_words_go_before_its_models(schema: dict[str, Any]) -> None:
    assert schema["properties"]["other"]["description"] == "Another one. A leaf."
    assert schema["properties"]["leaf"]["description"] == "A leaf."


def test_a_lenient_schema_has_no_bounds_defaults_or_rules() -> None:
    for node in walk(structural(Tree, lenient=True)):
        assert not {"default", "minimum", "maximum", "pattern", "maxLength", "x-kubernetes-validations"} & set(node)
        assert node.get("required", ["name"]) == ["name"], "only the keys of lists"


def test_what_a_structural_schema_cannot_say_is_an_error() -> None:
    class Both(Document):
        either: int | str

    with pytest.raises(ValueError, match="a union of 2 types"):
        structural(Both)

    class Odd(Document):
        odd: int = Field(multiple_of=2)

    with pytest.raises(ValueError, match="multipleOf"):
        structural(Odd)


def test_minimal_defaults_of_maps_keep_their_entries() -> None:
    assert minimal({"a": 1, "b": None}, {"type": "object"}) == {"a": 1}

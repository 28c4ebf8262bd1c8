"""Objects of the cache as models, each read once: a version is looked at by every Deployment of its model."""

from __future__ import annotations

from typing import TypeVar, cast

from pydantic import BaseModel

from tidemill.reconcile.observed import Object

_LIMIT = 256
_Model = TypeVar("_Model", bound=BaseModel)
_read: dict[tuple[int, type[BaseModel]], tuple[Object, BaseModel]] = {}
"""By the object's identity; the object is kept too, so that no other can have that identity meanwhile."""


def typed(model: type[_Model], obj: Object) -> _Model:
    """The object as a model; the same model for the same object. Objects of the cache are replaced, never modified, and
    models are frozen: sharing them is safe. Raises pydantic.ValidationError as `model_validate` does."""
    key = id(obj), model
    if found := _read.get(key):
        return cast(_Model, found[1])
    result = model.model_validate(obj)
    if len(_read) >= _LIMIT:
        _read.clear()  # as `re` does: simple, and rare enough
    _read[key] = obj, result
    return result

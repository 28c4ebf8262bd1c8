"""Canonical JSON (RFC 8785) and digests over it."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785


def canonical_json(value: Any) -> bytes:
    """The value, made of JSON types, as canonical JSON. Raises rfc8785.CanonicalizationError on NaN or huge integers."""
    return rfc8785.dumps(value)


def digest(value: Any) -> str:
    """`sha256:<hex>` of the canonical JSON of a value made of JSON types."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()


def short(full: str) -> str:
    """The first twelve hexadecimal digits of a digest."""
    return full.removeprefix("sha256:")[:12]

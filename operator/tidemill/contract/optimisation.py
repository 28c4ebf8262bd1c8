"""Optimisations and exports of a model version: what is asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tidemill.contract.base import Document

VariantName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]


class Tolerance(Document):
    """A variant is served only when it keeps both bounds."""

    max_error_increase: float = Field(default=0.01, ge=0, le=10)
    """Relative growth of the error (mae) that is tolerated; for classification the loss of accuracy."""
    max_latency_ratio: float = Field(default=1.0, gt=0, le=10)
    """Latency of the variant divided by the original's that is tolerated."""


class Optimisation(Document):
    """One optimised variant."""

    name: VariantName
    """Names the variant, as `spec.online.variant` of a Deployment refers to it."""
    type: Literal["StaticInt8"] = "StaticInt8"
    """StaticInt8: weights and activations in int8 (QDQ), calibrated on rows of the training split."""
    calibration_rows: int = Field(default=256, ge=1, le=512)
    """Rows of the training split that calibrate the ranges of activations."""
    tolerance: Tolerance = Tolerance()


class Export(Document):
    """One export for the edge."""

    name: VariantName
    """Names the export, as `spec.edge.export` of a Deployment refers to it."""
    format: Literal["OpenVINO"] = "OpenVINO"
    """OpenVINO: intermediate representation (XML and weights)."""
    max_abs_error: float = Field(default=1e-3, gt=0)
    """Greatest absolute difference from ONNX Runtime on the calibration rows that is tolerated."""

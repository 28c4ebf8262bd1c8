"""Generates crds/, charts/tidemill-crds/templates/ and docs/reference/ from the API's pydantic models."""

"""The custom resources: pydantic models, one kind a file in `v1alpha1`, and their translation into CRDs."""

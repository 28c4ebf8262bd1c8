"""Pure builders of child manifests: one child kind a file, plain dicts, no I/O, no clock."""

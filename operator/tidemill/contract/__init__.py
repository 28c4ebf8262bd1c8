"""What the operator, the workers and the serving agent agree on: documents, names and exit codes. No I/O, pydantic only."""

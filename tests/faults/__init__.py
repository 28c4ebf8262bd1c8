"""Faults on a real API server: each is repeatable, and ends with the same checks and counts."""

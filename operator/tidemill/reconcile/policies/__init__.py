"""Policies: one decision a file, pure functions of plain values, each with tests of its own."""

"""What ends a command, and what only takes something away from its answer."""

from __future__ import annotations


class Failure(Exception):
    """The command cannot answer: one sentence that names the object or the right that is missing, and the way out."""


class StoreUnreadable(Exception):
    """The artifact store did not give what was asked for; what the API server has is shown all the same."""


class FileUnreadable(StoreUnreadable):
    """One file of the store is not what it should be: those of other runs may be."""

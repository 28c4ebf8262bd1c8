"""What an evaluation shows of a language model's words: the hardest rows, what it writes, and what was cut."""

from __future__ import annotations

from tidemill.contract.base import Document


class HardRow(Document):
    """A row that a language model finds hard, in texts that are cut after 300 characters."""

    prompt: str = ""
    text: str
    """The text or completion; of preferences the chosen answer."""
    rejected: str | None = None
    """Of preferences."""
    loss: float
    """The row's own: nats a token, of preferences −ln σ(margin)."""


class Continuation(Document):
    """What a language model writes after the beginning of a row: always the likeliest token."""

    prompt: str
    wanted: str
    """How the row goes on; of preferences the chosen answer."""
    before: str | None = None
    """By the base; absent where that was random."""
    after: str
    """By the trained model."""


class Truncated(Document):
    """What does not fit into maxTokens."""

    rows: int
    """Rows whose end is cut; of preferences, pairs."""
    tokens: int
    """Tokens that they lose."""

"""What can go wrong, sorted by what helps: nothing but a new version, time, or Triton's coming back."""

from __future__ import annotations


class AgentError(Exception):
    """Its text goes into the placement's status: it names the object and the way out."""


class LoadError(AgentError):
    """The version cannot be served: the artifact, the configuration or the model is wrong, and a retry rarely helps."""


class StoreUnavailable(AgentError):
    """The store does not answer, or not for us: worth another try."""


class ObjectNotFound(LoadError):
    """An object of the artifact does not exist."""


class TritonRefused(LoadError):
    """Triton answered with an error."""


class TritonUnavailable(AgentError):
    """Triton does not answer: it starts, restarts or hangs."""

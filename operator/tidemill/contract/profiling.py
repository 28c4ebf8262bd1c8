"""What is drawn of a dataset's rows."""

from __future__ import annotations

from tidemill.contract.base import Document
from tidemill.contract.columns import Column


class ProfileOptions(Document):
    """The profile that is drawn of every version."""

    html: bool = True
    """Also as a self-contained HTML page."""
    target: Column | None = None
    """A column whose relation to the others is shown."""

"""What is drawn of a dataset's rows."""

from __future__ import annotations

from pydantic import Field

from tidemill.contract.base import Document
from tidemill.contract.columns import Column


class ProfileOptions(Document):
    """The profile that is drawn of every version: `profile.json`, `explore.ipynb`, and what is said here."""

    html: bool = True
    """Also as a self-contained HTML page."""
    pictures: bool = True
    """Every picture also as a PNG file below `profile/`."""
    target: Column | None = None
    """A column whose relation to the others is shown; one that gives it away is an alert."""
    time_column: Column | None = None
    """A time or number along which rows, missing values and the target are shown; else the column of split.byTime, if any."""
    sample_rows: int = Field(default=10, ge=0, le=100)
    """Rows of the train split that are shown as they are; 0 shows none. Frequent values of a column are shown all the same."""

"""What a user's address stands for: one name, a glob, or everything below a folder. The same in a store and in a volume."""

from __future__ import annotations

import re

_WILDCARD = re.compile(r"(\*\*|\*|\?)")
_MEANS = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
_HIDDEN = re.compile(r"(^|/)[._][^/]*(/|$)")


class Pattern:
    """`a/b` is one name; `*` and `?` stay within a folder, `**` does not; `a/` is all below but what begins with `.` or `_`."""

    def __init__(self, text: str) -> None:
        self._text = text
        wildcard = _WILDCARD.search(text)
        self.prefix = text[: wildcard.start()] if wildcard else text
        """What every name begins with."""
        self.one = wildcard is None and not text.endswith("/")
        """Whether it can only be one name."""
        self._glob: re.Pattern[str] | None = None
        if wildcard:
            self._glob = re.compile("".join(_MEANS.get(part) or re.escape(part) for part in _WILDCARD.split(text)))

    def matches(self, name: str) -> bool:
        """Whether a name is meant."""
        if name.endswith("/"):  # how stores show an empty folder
            return False
        if self._glob is not None:
            return self._glob.fullmatch(name) is not None
        if self.one:
            return name == self._text
        return name.startswith(self._text) and not _HIDDEN.search(name[len(self._text) :])

    def reaches_below(self, folder: str) -> bool:
        """Whether names in a folder (which ends in `/`) can be meant."""
        if self._glob is None:
            return folder.startswith(self.prefix) and not _HIDDEN.search(folder[len(self.prefix) :])
        return "**" in self._text or folder.count("/") <= self._text.count("/")

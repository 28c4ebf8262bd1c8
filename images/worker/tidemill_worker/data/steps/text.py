"""The normalizeText step.

Case, accents, spaces and NFC are DuckDB's own functions. It has none for NFKC and for HTML: those are Python's, called for a
vector of texts at a time.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from html.parser import HTMLParser

import duckdb
import pyarrow as pa
from duckdb.func import PythonUDFType

from tidemill.contract.steps.text import NormalizeText
from tidemill_worker.data.engine import quote
from tidemill_worker.data.steps.table import Made, Table

_SQL = {
    "nfc": "nfc_normalize({})",
    "nfkc": "_tidemill_nfkc({})",
    "stripHtml": "_tidemill_strip_html({})",
    "lower": "lower({})",
    "stripAccents": "strip_accents({})",
    # white space of any script: RE2's \\s is ASCII's, \\p{Z} Unicode's
    "collapseSpaces": "trim(regexp_replace({}, '[\\s\\p{{Z}}]+', ' ', 'g'))",
}
_WITHIN_A_WORD = {
    "a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i", "ins", "kbd", "mark", "q", "s",
    "samp", "small", "span", "strong", "sub", "sup", "tt", "u", "var", "wbr",
}  # fmt: skip
_NO_TEXT = {"script", "style", "template", "noscript"}


def normalized(table: Table, step: NormalizeText) -> Made:
    """Columns of text, in one form."""
    field = f"{table.field}.columns"
    table.need(step.columns, field)
    replaced = []
    for name in step.columns:
        table.text(name, field)
        value = quote(name)
        for operation in step.operations:
            value = _SQL[operation].format(value)
        replaced.append(f"{value} AS {quote(name)}")
    for operation, function in (("nfkc", nfkc), ("stripHtml", strip_html)):
        if operation in step.operations:
            _offer(table.connection, _SQL[operation].partition("(")[0], function)
    return Made(f"SELECT * REPLACE ({', '.join(replaced)}) FROM {table.source}", field)


def _offer(connection: duckdb.DuckDBPyConnection, name: str, function: Callable[[str], str]) -> None:
    """Make a function of one text known to SQL, once."""
    if connection.execute("SELECT 1 FROM duckdb_functions() WHERE function_name = $1", [name]).fetchall():
        return

    def vector(texts: pa.ChunkedArray) -> pa.Array:
        return pa.array([None if text is None else function(text) for text in texts.to_pylist()], pa.string())

    connection.create_function(name, vector, ["VARCHAR"], "VARCHAR", type=PythonUDFType.ARROW)


def nfkc(text: str) -> str:
    """Unicode's compatibility form (UAX 15): `ﬁ` becomes `fi`, `①` 1."""
    return unicodedata.normalize("NFKC", text)


class _Text(HTMLParser):
    """Collects what a browser would show; what is not within a word separates words."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs  # the signature is the library's
        self._silent += tag in _NO_TEXT
        if tag not in _WITHIN_A_WORD:
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in _NO_TEXT))
        if tag not in _WITHIN_A_WORD:
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)


def strip_html(text: str) -> str:
    """The text of an HTML fragment, entities resolved, without tags, comments, scripts and styles."""
    if "<" not in text and "&" not in text:
        return text
    parser = _Text()
    parser.feed(text)
    parser.close()
    return "".join(parser.parts).strip()

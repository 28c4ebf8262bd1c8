"""What is worth a look before the data is trained on: the bounds, and the words."""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.contract.profile import Alert, ColumnProfile, Profile
from tidemill_worker.profile.reader import CATEGORIES, is_bookkeeping

LEAKAGE = {"AUC": 0.99, "R2": 0.99}
"""A column that reaches this score alone nearly gives the target away."""
TEST_IN_TRAIN = 0.01
"""Share of the test rows that stand in the train split too."""
MISSING = 0.2
NEARLY_CONSTANT = 0.95
"""Share of one value."""
IDENTIFIER = 0.99
"""Share of different values among a text's or whole number's present ones, of at least `IDENTIFIER_ROWS`."""
IDENTIFIER_ROWS = 50
SKEWNESS = 2.0
"""Absolute; an exponential distribution has 2."""
OUTLIERS = 0.01
"""Share of far outliers; of a normal distribution's values 0.0002 % are."""
ZEROS = 0.5
CORRELATED = 0.9
"""Absolute correlation, Cramér's V or η."""
MISSING_TOGETHER = 0.9
"""φ of two columns being missing."""
DUPLICATES = 0.0
IMBALANCED = 0.95
"""Share of the target's most frequent class."""
ORDER = (
    "EqualsTarget", "Leakage", "TestRowsInTrain", "AllMissing", "Constant", "Duplicates", "Infinite", "Missing", "Imbalanced",
    "Identifier", "NearlyConstant", "LooksLike", "Correlated", "MissingTogether", "HighCardinality", "Skewed", "Outliers",
    "Zeros", "Padded",
)  # fmt: skip
"""All kinds, the gravest first."""


def alerts(profile: Profile, equal_to_target: frozenset[str]) -> tuple[Alert, ...]:
    """Of a whole profile, the gravest first, then by column."""
    found = [*_of_target(profile, equal_to_target), *_of_rows(profile), *_of_pairs(profile)]
    for column in profile.columns:
        if not is_bookkeeping(column.name):
            found += _of_column(column, profile.total)
    return tuple(sorted(found, key=lambda alert: ORDER.index(alert.kind)))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _of_target(profile: Profile, equal: frozenset[str]) -> Iterator[Alert]:
    target = profile.target
    if target is None:
        return
    for relation in target.relations:
        name, score = relation.column, relation.score
        if name in equal:
            text = f"equals the target {target.column} in every row: exclude one of them from the features"
            yield Alert(kind="EqualsTarget", column=name, message=text)
        elif score is not None and score >= LEAKAGE[target.measure]:
            measure = "R²" if target.measure == "R2" else "AUC"
            text = (
                f"alone predicts {target.column} with {measure} {score} on rows it was not fitted on: is it known when a "
                "prediction is asked for?"
            )
            yield Alert(kind="Leakage", column=name, message=text)
    column = next(c for c in profile.columns if c.name == target.column)
    if target.task == "Classification" and column.top:
        share = column.top[0].count / max(1, profile.total - column.missing)
        if IMBALANCED <= share < 1:
            text = f"{_percent(share)} of the rows have the target's class {column.top[0].value}: accuracy says little"
            yield Alert(kind="Imbalanced", column=column.name, message=text)


def _of_rows(profile: Profile) -> Iterator[Alert]:
    same, test = profile.duplicates, profile.rows.get("test", 0)
    if test and same.test_in_train >= TEST_IN_TRAIN * test:
        text = (
            f"{same.test_in_train} of {test} test rows stand in the train split too: the test is easier than real data"
        )
        yield Alert(kind="TestRowsInTrain", message=text)
    if same.rows > DUPLICATES * profile.total:
        text = f"{same.rows} rows ({_percent(same.rows / profile.total)}) repeat another row"
        yield Alert(kind="Duplicates", message=text)


def _of_column(column: ColumnProfile, rows: int) -> Iterator[Alert]:
    def alert(kind: str, message: str) -> Alert:
        return Alert(kind=kind, column=column.name, message=message)

    present = rows - column.missing
    if not present:
        yield alert("AllMissing", "has no value in any row")
        return
    if column.missing_ratio >= MISSING:
        yield alert("Missing", f"is missing in {_percent(column.missing_ratio)} of the rows")
    first = column.top[0] if column.top else None
    if column.distinct == 1:
        yield alert("Constant", "has the same value in every row that has one")
    elif first is not None and first.count >= NEARLY_CONSTANT * present:
        yield alert(
            "NearlyConstant", f"is {first.value} in {_percent(first.count / present)} of the rows that have a value"
        )
    if _is_identifier(column, present):
        text = f"has {column.distinct} different values in {present} rows: it names rows, it does not describe them"
        yield alert("Identifier", text)
    elif column.kind == "Text" and column.distinct is not None and column.distinct > CATEGORIES:
        yield alert("HighCardinality", f"is text with {column.distinct} different values")
    if column.text is not None:
        if column.text.looks_like is not None:
            what = "a number" if column.text.looks_like == "Number" else "a time"
            yield alert("LooksLike", f"is text, but every value can be read as {what}: cast it in the transform")
        if column.text.padded:
            yield alert("Padded", f"begins or ends with white space in {column.text.padded} rows")
    yield from _of_numbers(column, present)


def _is_identifier(column: ColumnProfile, present: int) -> bool:
    whole = column.kind == "Text" or (column.kind == "Number" and "int" in column.type)
    return whole and present >= IDENTIFIER_ROWS and (column.unique or 0) >= IDENTIFIER


def _of_numbers(column: ColumnProfile, present: int) -> Iterator[Alert]:
    numbers = column.numbers
    if column.kind != "Number":
        return
    infinite = numbers.infinite if numbers is not None else present
    if infinite:
        yield Alert(kind="Infinite", column=column.name, message=f"is infinite in {infinite} rows")
    if numbers is None or (column.distinct or 0) < 3:
        return
    if numbers.skewness is not None and abs(numbers.skewness) >= SKEWNESS:
        text = f"is skewed ({numbers.skewness:.3g}): a logarithm or ranks may serve a model better"
        yield Alert(kind="Skewed", column=column.name, message=text)
    if numbers.far_outliers >= OUTLIERS:
        text = f"has {_percent(numbers.far_outliers)} of its values more than 3 IQR outside the quartiles"
        yield Alert(kind="Outliers", column=column.name, message=text)
    if numbers.zeros >= ZEROS * present:
        yield Alert(
            kind="Zeros", column=column.name, message=f"is 0 in {_percent(numbers.zeros / present)} of its values"
        )


def _of_pairs(profile: Profile) -> Iterator[Alert]:
    matrix = profile.correlations
    target = profile.target.column if profile.target is not None else None
    for i, first in enumerate(matrix.columns):
        for j, second in enumerate(matrix.columns[:i]):
            value = matrix.matrix[i][j]
            if value is not None and abs(value) >= CORRELATED and target not in (first, second):
                text = (
                    f"goes with {first} ({_measure(matrix.kinds[i], matrix.kinds[j])} {value:.3g}): one of them may do"
                )
                yield Alert(kind="Correlated", column=second, message=text)
    for pair in profile.missing.pairs:
        if pair.phi >= MISSING_TOGETHER:
            text = f"is missing where {pair.second} is ({pair.rows} rows, φ {pair.phi:.3g})"
            yield Alert(kind="MissingTogether", column=pair.first, message=text)


def _measure(first: str, second: str) -> str:
    numbers = [kind in ("Number", "Time") for kind in (first, second)]
    return "Pearson" if all(numbers) else "η" if any(numbers) else "Cramér's V"

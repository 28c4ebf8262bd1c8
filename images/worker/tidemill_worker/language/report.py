"""What is told of a language model besides its metrics: which rows it finds hard, and what it writes beside its base."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tidemill.contract.evaluation import CoursePoint, SplitDetails
from tidemill.contract.model import Evaluation
from tidemill.contract.writing import Continuation, HardRow, Truncated
from tidemill_worker.language.lesson import Lesson
from tidemill_worker.language.rows import SequenceMaker, TokenRow
from tidemill_worker.model.likelihoods import LanguageRows
from tidemill_worker.model.metrics import metrics
from tidemill_worker.report import bootstrap, curves, slices
from tidemill_worker.report.numbers import short
from tidemill_worker.report.plan import Plan

HARDEST, CONTINUED, MOST_POINTS, LONGEST_TEXT = 10, 4, 200, 300
Write = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""Tokens that follow prompts, by a model."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Rows of a split that models go on with, and what the base wrote; nothing of random weights."""

    split: str | None
    rows: Sequence[TokenRow]
    before: Sequence[np.ndarray | None]


def begin(lesson: Lesson, longest: int, base: Write | None) -> Begun:
    """The first rows of the test split (else the validation split) whose beginning leaves room for more."""
    for split in ("test", "validation"):
        rows = [answers[0] for answers in lesson.answers(split) if len(answers[0].prompt) < longest][:CONTINUED]
        if rows:
            return Begun(split, rows, base([row.prompt for row in rows]) if base else [None] * len(rows))
    return Begun(None, (), ())


def evaluation(
    lesson: Lesson,
    judged: Mapping[str, LanguageRows],
    tables: Mapping[str, pa.Table],
    plan: Plan,
    history: Sequence[Mapping[str, Any]],
    maker: SequenceMaker,
    continuations: Mapping[str, tuple[Continuation, ...]],
) -> Evaluation:
    """Of the splits that were judged. `tables` hold the columns of the slices."""
    return Evaluation(
        metrics={split: metrics(rows) for split, rows in judged.items()},
        rows={split: lesson.count(split) for split in tables},
        confidence=plan.options.confidence.level if plan.options.confidence.resamples else None,
        details={
            split: SplitDetails(
                intervals=bootstrap.intervals(rows, plan.options.confidence),
                losses=curves.histogram_of(rows.losses()),
                hardest=_hardest(lesson.answers(split), rows, maker),
                continuations=continuations.get(split, ()),
                truncated=_truncated(lesson.answers(split)),
                slices=slices.measure(
                    tables[split].take(pa.array(lesson.places(split))), rows, plan.slices, plan.options.confidence
                ),
            )
            for split, rows in judged.items()
        },
        course=_course(history),
    )


def continued(begun: Begun, write: Write, maker: SequenceMaker) -> dict[str, tuple[Continuation, ...]]:
    """By split, what the trained model writes beside what its base wrote."""
    if begun.split is None:
        return {}
    after = write([row.prompt for row in begun.rows])
    return {
        begun.split: tuple(
            Continuation(
                prompt=_text(maker, row.prompt),
                wanted=_text(maker, row.ids[len(row.prompt) :]),
                before=None if before is None else _text(maker, before),
                after=_text(maker, now),
            )
            for row, before, now in zip(begun.rows, begun.before, after, strict=True)
        )
    }


def _hardest(answers: Sequence[Sequence[TokenRow]], rows: LanguageRows, maker: SequenceMaker) -> tuple[HardRow, ...]:
    losses = rows.losses()
    found = []
    for place in np.argsort(-losses, kind="stable")[:HARDEST]:
        first, *others = answers[place]
        given = int((~first.learnt).sum())
        found.append(
            HardRow(
                prompt=_text(maker, first.ids[:given]),
                text=_text(maker, first.ids[given:]),
                rejected=_text(maker, others[0].ids[int((~others[0].learnt).sum()) :]) if others else None,
                loss=short(losses[place]),
            )
        )
    return tuple(found)


def _truncated(answers: Sequence[Sequence[TokenRow]]) -> Truncated:
    cut = [sum(answer.cut for answer in row) for row in answers]
    return Truncated(rows=sum(number > 0 for number in cut), tokens=sum(cut))


def _course(history: Sequence[Mapping[str, Any]]) -> tuple[CoursePoint, ...]:
    places = np.unique(np.linspace(0, len(history) - 1, min(len(history), MOST_POINTS)).round().astype(int))
    points = (history[place] for place in places)
    return tuple(
        CoursePoint(
            step=point["step"],
            loss=short(point["loss"]),
            validation_loss=short(point["validationLoss"]) if "validationLoss" in point else None,
        )
        for point in points
    )


def _text(maker: SequenceMaker, ids: np.ndarray) -> str:
    text = maker.text(ids)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"

"""What a search may try: a trial's suggestions as a trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import optuna
import yaml
from pydantic import BaseModel, ValidationError

from tidemill.contract.searching import Search
from tidemill.contract.trainers import BuiltInTrainer, Family
from tidemill_worker.errors import InvalidSpec

FIELD = "spec.search.parameters"
_Trainer = TypeVar("_Trainer", bound=BaseModel)


class Space(Protocol):
    """Turns a trial into what it trains."""

    def trainer(self, trial: optuna.trial.BaseTrial) -> tuple[Family, BuiltInTrainer]:
        """What the trial trains; of a trial that has drawn before, the same again. Raises InvalidSpec."""


@dataclass(frozen=True, slots=True)
class SpecSpace:
    """One trainer of which the spec names fields to vary."""

    family: Family
    base: BuiltInTrainer
    search: Search

    def trainer(self, trial: optuna.trial.BaseTrial) -> tuple[Family, BuiltInTrainer]:
        """The spec's trainer with the trial's values."""
        return self.family, applied(self.base, suggest(trial, self.search))


def suggest(trial: optuna.trial.BaseTrial, search: Search) -> dict[str, Any]:
    """A value for each parameter: of a trial that is taken up again the same ones."""
    found: dict[str, Any] = {}
    for parameter in search.parameters:
        if (number := parameter.float_) is not None:
            found[parameter.name] = trial.suggest_float(parameter.name, number.min, number.max, log=number.log)
        elif (whole := parameter.int_) is not None:
            found[parameter.name] = trial.suggest_int(parameter.name, whole.min, whole.max, log=whole.log)
        else:
            found[parameter.name] = trial.suggest_categorical(parameter.name, parameter.choices or ())
    return {name: _meant(value) for name, value in found.items()}


def _meant(value: Any) -> Any:
    """Choices are written as YAML: `[64, 32]` is a list, `0.5` a number."""
    return yaml.safe_load(value) if isinstance(value, str) else value


def applied(trainer: _Trainer, values: Mapping[str, Any]) -> _Trainer:
    """The trainer with these values. Raises InvalidSpec when it has no such field, or refuses a value."""
    document = trainer.model_dump(by_alias=True, exclude_none=True)
    known = {info.alias or name for name, info in type(trainer).model_fields.items()}
    for name, value in values.items():
        if name not in known:
            raise InvalidSpec(
                f"{FIELD}: the trainer has no {name}; it has {', '.join(sorted(known))}", field=f"{FIELD}[{name}]"
            )
        document[name] = value
    try:
        return type(trainer).model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or ", ".join(values)
        raise InvalidSpec(f"{FIELD}: {where}: {first['msg']}", field=f"{FIELD}[{where}]") from error


def check(trainer: BaseModel, search: Search) -> None:
    """Every bound and every choice must be one that the trainer takes: said before the first trial, not in the ninth."""
    for parameter in search.parameters:
        if (number := parameter.float_) is not None:
            ends: tuple[Any, ...] = (number.min, number.max)
        elif (whole := parameter.int_) is not None:
            ends = (whole.min, whole.max)
        else:
            ends = tuple(_meant(choice) for choice in parameter.choices or ())
        for end in ends:
            applied(trainer, {parameter.name: end})

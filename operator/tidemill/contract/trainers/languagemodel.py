"""The built-in training of causal language models."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.columns import Column
from tidemill.contract.markers import cel, rules
from tidemill.contract.trainers.finetuning import AnyBase, FineTuning, Lora

_TEXT_OR_PAIR = "set text alone, or prompt and completion"
_LORA = "lora has no effect on random weights: they must all be trained"


class LanguageModelTrainer(FineTuning):
    """A causal language model that is trained to go on as texts do, or to complete prompts (supervised fine-tuning)."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("has(self.text) != has(self.prompt)", _TEXT_OR_PAIR, field=".text"),
            cel("has(self.prompt) == has(self.completion)", _TEXT_OR_PAIR, field=".completion"),
            cel("!has(self.lora) || !has(self.base.scratch)", _LORA, field=".lora"),
        )
    )

    base: AnyBase
    text: Column | None = None
    """The text column: every token of it is learnt."""
    prompt: Column | None = None
    """The column of what is given: it is read, but not learnt."""
    completion: Column | None = None
    """The column of what should follow the prompt: it is learnt, with the token that ends a text."""
    lora: Lora | None = Field(default=None)
    """Without it all weights are trained."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.text is None) == (self.prompt is None) or (self.prompt is None) != (self.completion is None):
            raise ValueError(_TEXT_OR_PAIR)
        if self.lora is not None and self.base.scratch is not None:
            raise ValueError(_LORA)
        return self

    @property
    def columns(self) -> dict[str, Column]:
        """The columns that are read, by the name of their field."""
        named = {"text": self.text, "prompt": self.prompt, "completion": self.completion}
        return {name: column for name, column in named.items() if column is not None}

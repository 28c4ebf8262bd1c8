"""The built-in text classification."""

from __future__ import annotations

from pydantic import ConfigDict

from tidemill.contract.columns import Column
from tidemill.contract.markers import cel, rules
from tidemill.contract.trainers.finetuning import AnyBase, FineTuning


class TextTrainer(FineTuning):
    """A transformer encoder that predicts a class from a text; all of its weights are trained (Devlin et al. 2019).

    The ONNX graph takes tokens: `tokenizer.json` beside it makes them from texts.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(cel("self.text != self.target", "the target cannot be the text", field=".text"))
    )

    base: AnyBase
    text: Column
    """The text column to learn from."""
    target: Column
    """The column to predict."""

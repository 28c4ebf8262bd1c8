"""The built-in tuning of causal language models by preferences."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from tidemill.contract.columns import Column
from tidemill.contract.markers import cel, rules
from tidemill.contract.trainers.finetuning import FineTuning, Lora, TrainedBase


class PreferenceTrainer(FineTuning):
    """Direct preference optimisation (Rafailov et al. 2023): of two answers to a prompt, the chosen one becomes likelier.

    The reference, which the model must not leave too far behind, is the base: the model without its adapters.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.chosen != self.rejected", "chosen and rejected must be different columns", field=".rejected"),
            cel("self.prompt != self.chosen && self.prompt != self.rejected", "the prompt cannot be an answer",
                field=".prompt"),
        )
    )  # fmt: skip

    base: TrainedBase
    prompt: Column
    """The column of what is given."""
    chosen: Column
    """The column of the better answer."""
    rejected: Column
    """The column of the worse answer."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """How much it costs to leave the reference: less lets the model go further."""
    learning_rate: float = Field(default=1e-5, gt=0, le=1)
    """Step size of the optimiser at its greatest."""
    lora: Lora = Lora()

    @property
    def columns(self) -> dict[str, Column]:
        """The columns that are read, by the name of their field."""
        return {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}

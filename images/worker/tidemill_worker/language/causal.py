"""A causal language model: loaded or new, with adapters in training, merged when it is trained."""

from __future__ import annotations

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tidemill.contract.trainers.finetuning import Lora, Scratch
from tidemill_worker.errors import InvalidSpec
from tidemill_worker.language import base, scratch

MOST_PARAMETERS = 450_000_000
"""Their single-precision numbers must fit into one ONNX file, which holds 2 GB."""


def load(found: base.Base, tokens: int, field: str) -> PreTrainedModel:
    """The base's model. Raises InvalidSpec when it is no causal language model or too great, InvalidData when it is damaged."""
    found.check_length(tokens, field)
    kind = found.config.get("model_type")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or found.config.get("is_encoder_decoder"):
        raise InvalidSpec(
            f"{found.field}: {base.CONFIG_FILE} says model_type {kind!r}, which is no causal language model that transformers "
            "knows",
            field=found.field,
        )
    return _checked(base.load(AutoModelForCausalLM, found), found.field)


def new(spec: Scratch, *, vocabulary: int, tokens: int, field: str) -> PreTrainedModel:
    """Random weights, from torch's generator."""
    config = scratch.decoder(spec, vocabulary=vocabulary, tokens=tokens)
    made = AutoModelForCausalLM.from_config(config, attn_implementation="eager")  # type: ignore[no-untyped-call]
    return _checked(made, f"{field}.base.scratch")


def with_adapters(model: PreTrainedModel, spec: Lora) -> PeftModel:
    """Adapters beside all linear layers but the last; nothing else is trained."""
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]
        lora_dropout=spec.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    made = get_peft_model(model, config)
    assert isinstance(made, PeftModel), "no mixed adapters were asked for"
    return made


def merged(model: nn.Module) -> PreTrainedModel:
    """The model with the adapters added to its weights."""
    whole = model.merge_and_unload() if isinstance(model, PeftModel) else model
    assert isinstance(whole, PreTrainedModel), "peft wraps what it was given"
    whole.train(False)
    return whole


def _checked(model: PreTrainedModel, field: str) -> PreTrainedModel:
    size = sum(parameter.numel() for parameter in model.parameters())
    if size > MOST_PARAMETERS:
        raise InvalidSpec(
            f"{field}: the model has {size:,} parameters, more than the {MOST_PARAMETERS:,} that one ONNX file holds",
            field=field,
        )
    model.config.use_cache = False
    return model

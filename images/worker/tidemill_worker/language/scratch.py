"""Models that begin with random weights: their configuration, and a tokenizer that is learnt from the training texts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, LlamaConfig

from tidemill.contract.model import TOKENIZER_FILE
from tidemill.contract.trainers.finetuning import Scratch

PAD, BEGIN, END = "<pad>", "<s>", "</s>"
"""Special tokens, with the numbers 0, 1 and 2."""


def learn_tokenizer(texts: Iterable[str], spec: Scratch, folder: Path, *, framed: bool) -> int:
    """Write a byte-level BPE, which every text can be written in; returns the number of its tokens.

    `framed`: a text's tokens stand between those of its begin and end, as an encoder has it.
    """
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=spec.vocabulary,
            special_tokens=[PAD, BEGIN, END],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    if framed:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A {END}", special_tokens=[(BEGIN, 1), (END, 2)]
        )
    tokenizer.save(str(folder / TOKENIZER_FILE))
    return int(tokenizer.get_vocab_size())


def encoder(spec: Scratch, *, vocabulary: int, tokens: int) -> BertConfig:
    """As BERT (Devlin et al. 2019), with positions for so many tokens."""
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=spec.width,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        intermediate_size=4 * spec.width,
        max_position_embeddings=tokens,
        type_vocab_size=1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def decoder(spec: Scratch, *, vocabulary: int, tokens: int) -> LlamaConfig:
    """As Llama (Touvron et al. 2023), with one matrix for the tokens that are read and those that are written."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=spec.width,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.heads,
        intermediate_size=4 * spec.width,
        max_position_embeddings=tokens,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )

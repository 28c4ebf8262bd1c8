"""What lies beside a transformer's graph, for whoever goes on with it: itself in Hugging Face's layout, and its adapters.

Nothing in these files tells where they were made.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from tidemill.contract.model import ADAPTER_FOLDER, WEIGHTS_FOLDER

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def write_weights(model: PreTrainedModel, tokenizer: Path, folder: Path) -> None:
    """`huggingface/`: configuration, weights as safetensors, and the tokenizer's files from its folder."""
    place = folder / WEIGHTS_FOLDER
    model.save_pretrained(place)
    _forget_places(place / "config.json", "_name_or_path")
    for name in _TOKENIZER_FILES:
        if (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, place / name)


def write_adapter(model: PeftModel, folder: Path) -> None:
    """`adapter/`: the adapters as peft writes them, before they are merged."""
    place = folder / ADAPTER_FOLDER
    model.save_pretrained(str(place))
    (place / "README.md").unlink(missing_ok=True)
    _forget_places(place / "adapter_config.json", "base_model_name_or_path")


def _forget_places(file: Path, key: str) -> None:
    """And bring lists of names that the libraries keep as sets into one order."""
    document = json.loads(file.read_text())
    if key in document:
        document[key] = ""
    if isinstance(names := document.get("target_modules"), list):
        document["target_modules"] = sorted(names)
    file.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")

"""Fine-tuning of transformers: text classification, causal language models, preferences.

`base` finds the weights, `tokens` and `rows` make numbers of texts, `learner` trains step by step what an objective
(`classifier`, `completion`, `preference`) makes of a batch, `adapters` are LoRA's, `graph` exports, `bundle` writes what lies
beside the graph. Only the language image has the libraries; nothing outside this folder imports them.

Nothing is ever looked up in a hub: models come from the store, and code never comes with them.
"""

from __future__ import annotations

import logging
import os

os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TRANSFORMERS_VERBOSITY="error",
    TOKENIZERS_PARALLELISM="false",  # threads would only compete with torch's
    TQDM_DISABLE="1",  # a log has no use for bars
)
logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # which tells of libraries that are not there

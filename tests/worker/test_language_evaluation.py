"""The evaluation of language models: intervals, slices, hard rows, what they write, and the page that shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from tidemill.contract.model import Evaluation
from tidemill.contract.results import TrainResult
from tidemill.contract.writing import Continuation
from tidemill_worker.errors import ColumnMissing, GateNotPassed, InvalidSpec
from tidemill_worker.model.likelihoods import CompletionRows, PreferenceRows
from tidemill_worker.model.metrics import metrics

from .lab import Lab, Seaweed, make_lab
from .language import complete, fetch_weights, pair_data, pairs, prefer, put_folder
from .samples import Document

FULL = {"slices": ["prompt"], "confidence": {"resamples": 200}}
Made = tuple[Lab, Document, TrainResult]


@pytest.fixture(scope="module")
def made(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model of random origin, of texts that look like HTML, evaluated in full."""
    lab = make_lab(seaweed, tmp_path_factory.mktemp("evaluation"))
    long = [str(7919 ** (8 + row % 8)) if row % 4 == 0 else "" for row in range(120)]
    data = pair_data(lab, chosen=[f"<b>{a}</b> & words {b}" for a, b in zip(pairs(120)["chosen"], long, strict=True)])
    asked = {"maxTokens": 16, "epochs": 3}
    return lab, data, lab.run(complete(lab, data, trainer=asked, evaluation=FULL))


def evaluation_of(lab: Lab, result: TrainResult) -> Evaluation:
    return Evaluation.model_validate(lab.get_json(f"{result.artifact.uri}/evaluation.json"))


def test_metrics_are_those_of_the_rows_one_by_one() -> None:
    """Each token weighs the same, and each pair."""
    found = metrics(CompletionRows(negative=np.array([2.0, 7.0]), tokens=np.array([2, 1])))
    assert found == {"loss": 3.0, "perplexity": pytest.approx(np.exp(3))}
    assert "perplexity" not in metrics(CompletionRows(negative=np.array([1e4]), tokens=np.array([1]))), "no number"
    found = metrics(PreferenceRows(margin=np.array([1.0, -1.0, 3.0, 0.0])))
    loss = np.mean([np.log1p(np.exp(-m)) for m in (1, -1, 3, 0)])
    assert found == {"loss": pytest.approx(loss), "rewardAccuracy": 0.5, "rewardMargin": 0.75}


def test_intervals_slices_and_the_hardest_rows(made: Made) -> None:
    lab, _, result = made
    found = evaluation_of(lab, result)
    details = found.details["test"]
    for name, value in found.metrics["test"].items():
        low, high = details.intervals[name]
        assert low < value < high
    assert {part.value for part in details.slices} == {"money: ", "sport: ", "weather: "}
    assert sum(part.rows for part in details.slices) == found.rows["test"]
    losses = [part.metrics["loss"] for part in details.slices]
    assert min(losses) < found.metrics["test"]["loss"] < max(losses)
    assert all(part.intervals["loss"][0] <= loss for part, loss in zip(details.slices, losses, strict=True))
    assert details.losses is not None
    assert sum(details.losses.counts) == found.rows["test"]
    hard = [row.loss for row in details.hardest]
    assert hard == sorted(hard, reverse=True)
    assert hard[0] > found.metrics["test"]["loss"]
    assert details.hardest[0].prompt.strip() in ("money:", "sport:", "weather:")
    assert details.hardest[0].text.startswith("<b>")
    steps = -(-found.rows["train"] // 8)
    assert [point.step for point in found.course] == [steps, 2 * steps, 3 * steps]
    assert found.course[0].loss > found.course[-1].loss


def test_what_does_not_fit_is_counted(made: Made) -> None:
    lab, data, result = made
    details = evaluation_of(lab, result).details["test"]
    tokenizer = Tokenizer.from_str(lab.get(f"{result.artifact.uri}/tokenizer.json").decode())
    rows = lab.get_table(f"{data['uri']}/test.parquet").to_pylist()
    lengths = [len(tokenizer.encode(r["prompt"]).ids) + len(tokenizer.encode(r["chosen"]).ids) + 1 for r in rows]
    assert details.truncated is not None
    assert details.truncated.tokens == sum(max(0, length - 16) for length in lengths)
    assert 0 < details.truncated.rows == sum(length > 16 for length in lengths)


def written(lab: Lab, result: TrainResult, told: Continuation, longest: int) -> str:
    """What the served graph goes on with, by a client."""
    tokenizer = Tokenizer.from_str(lab.get(f"{result.artifact.uri}/tokenizer.json").decode())
    session = onnxruntime.InferenceSession(
        lab.get(f"{result.artifact.uri}/model.onnx"), providers=["CPUExecutionProvider"]
    )
    ids = tokenizer.encode(told.prompt).ids
    begin = len(ids)
    while len(ids) < longest and ids[-1] != 2:
        feed = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, len(ids)), np.int64)}
        ids.append(int(session.run(["logits"], feed)[0][0, -1].argmax()))
    return str(tokenizer.decode(ids[begin:]))


def test_what_it_writes_beside_its_base(made: Made, tmp_path: Path) -> None:
    """As the served graph writes it; random weights are no base to stand beside."""
    lab, data, base = made
    plain = evaluation_of(lab, base).details["test"].continuations
    assert len(plain) == 4
    assert all(told.before is None for told in plain)
    store = put_folder(lab, fetch_weights(lab, base.artifact.uri, tmp_path / "base"))
    asked = {"base": {"store": store}, "maxTokens": 16, "epochs": 3}
    result = lab.run(complete(lab, data, run="more", trainer=asked))
    told = evaluation_of(lab, result).details["test"].continuations
    assert [c.before for c in told] == [c.after for c in plain]
    for one in told[:2]:
        assert one.after == written(lab, result, one, 16)
        assert one.wanted.startswith("<b>")
    again = lab.run(complete(lab, data, run="again", trainer=asked))
    assert again.artifact.digest == result.artifact.digest


def test_the_page_and_its_pictures(made: Made) -> None:
    """Texts of rows stand in it as text."""
    lab, _, result = made
    names = {name.partition("run-uid/")[2] for name in lab.list("models/words/run-uid/")}
    assert {f"evaluation/{picture}.png" for picture in ("course", "losses", "slices")} <= names
    page = lab.get(f"{result.artifact.uri}/evaluation.html").decode()
    for words in ("perplexity", "The hardest rows", "What it writes", "rows are longer than maxTokens", "&lt;b&gt;"):
        assert words in page
    assert "<b>" not in page
    assert "<script" not in page
    assert page.count("<svg") == 3


def test_preferences_are_told_pair_by_pair(made: Made) -> None:
    lab, data, base = made
    document = prefer(lab, data, base.artifact.model_dump(), trainer={"maxTokens": 16, "epochs": 2}, evaluation=FULL)
    result = lab.run({**document, "runRoot": f"{lab.root}/runs/dpo/uid", "modelRoot": f"{lab.root}/models/dpo"})
    found = evaluation_of(lab, result)
    details = found.details["test"]
    assert set(details.intervals) == {"loss", "rewardAccuracy", "rewardMargin"}
    assert details.hardest[0].rejected
    assert "<b>" not in details.hardest[0].rejected, "that has other words"
    assert all(told.before for told in details.continuations)
    assert "Rejected" in lab.get(f"{result.artifact.uri}/evaluation.html").decode()


def test_gates_on_slices(made: Made) -> None:
    lab, data, _ = made
    gate = {"metric": "perplexity", "max": 1, "slice": {"column": "prompt", "value": "sport: "}}
    asked = {"trainer": {"maxTokens": 16, "epochs": 1}, "evaluation": {**FULL, "html": False, "pictures": False}}
    with pytest.raises(GateNotPassed, match=r"test perplexity where prompt is sport: +is .*, above the maximum 1"):
        lab.run(complete(lab, data, run="gate", gates=[gate], **asked))
    wrong = {**gate, "slice": {"column": "prompt", "value": "art: "}}
    with pytest.raises(InvalidSpec, match=r"spec\.gates\[0\]\.slice: no labelled row of the test split has 'art: '"):
        lab.run(complete(lab, data, run="wrong", gates=[wrong], **asked))
    missing = {**asked, "evaluation": {"slices": ["nosuch"]}}
    with pytest.raises(ColumnMissing, match=r"spec\.evaluation\.slices\[0\]: there is no column 'nosuch'"):
        lab.run(complete(lab, data, run="missing", **missing))

"""Triton's model folders: `<root>/<model>/config.pbtxt` and `<model>/<version>/model.onnx`. Blocking, local files only.

Files are hard links into the artifact cache. A version appears beside the one that serves, by renames; `commit` removes
what it replaced, `rollback` puts it back.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tidemill.contract.manifest import MANIFEST
from tidemill.contract.model import (
    BASELINE_FILE,
    CALIBRATION_FILE,
    CONFIG_FILE,
    EVALUATION_FILE,
    REPORT_FILE,
    SIGNATURE_FILE,
    is_not_served,
)
from tidemill_agent.artifacts import ModelArtifact

CACHE = ".cache"
_BESIDE = {MANIFEST, SIGNATURE_FILE, BASELINE_FILE, CALIBRATION_FILE, CONFIG_FILE, EVALUATION_FILE, REPORT_FILE}
_REPLACED = ".replaced-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A version written into a model's folder, not yet final."""

    folder: Path
    version: int

    def commit(self) -> None:
        """Remove everything but this version."""
        for entry in self.folder.iterdir():
            if entry.name not in (CONFIG_FILE, str(self.version)):
                _remove(entry)

    def rollback(self) -> None:
        """Put back what was replaced."""
        _remove(self.folder / str(self.version))
        _remove(self.folder / CONFIG_FILE)
        for entry in self.folder.glob(f"{_REPLACED}*"):
            entry.rename(self.folder / entry.name.removeprefix(_REPLACED))
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


class Repository:
    """The folder that Triton was started with."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, model: str, *, version: int, config: str, artifact: ModelArtifact) -> Change:
        """Put a version into a model's folder; Triton sees it at the next load call."""
        folder = self.root / model
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*"):
            _remove(left)
        fresh = folder / f".{version}"
        for entry in artifact.manifest.files:
            if entry.path not in _BESIDE and not is_not_served(entry.path):
                target = fresh / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(artifact.folder / entry.path, target)
        draft = folder / f".{CONFIG_FILE}"
        draft.write_text(config)
        for name, new in ((str(version), fresh), (CONFIG_FILE, draft)):
            current = folder / name
            if current.exists():
                current.rename(folder / f"{_REPLACED}{name}")
            new.rename(current)
        return Change(folder=folder, version=version)

    def remove(self, model: str) -> None:
        """Remove a model's folder, if it is there."""
        _remove(self.root / model)

    def retain(self, models: Collection[str]) -> None:
        """Remove the folders of all other models: what an earlier process of this pod left behind."""
        for entry in self.root.iterdir():
            if entry.name != CACHE and entry.name not in models:
                _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

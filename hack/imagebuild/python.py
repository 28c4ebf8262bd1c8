"""Layers of Python code: locked requirements, and the project's own packages, both with compiled bytecode."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import trim as trimming
from .store import REPO, BuildError

SITE = "usr/local/lib/python3.11/dist-packages"  # on the path of Debian's Python by itself
UV = Path(sys.executable).with_name("uv")
_COMPILE = """
import py_compile, sys
root, *files = sys.argv[1:]
for file in files:
    try:
        py_compile.compile(file, dfile=file.removeprefix(root), doraise=True,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError:
        pass  # templates and tests for other Pythons: they stay source
"""


@dataclass(frozen=True)
class Requirements:
    """Locked requirements, without those that a lower layer has; `trim`: the file that says what to leave out.

    `program`: the one program of its wheels to keep, and nothing else of them. `after` changes the installed folder;
    `after_sources` are the files that it depends on.
    """

    file: str
    without: str = ""
    trim: str = ""
    program: str = ""
    after: Callable[[Path], None] | None = None
    after_sources: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse early if a file is missing."""
        for name in filter(None, (self.file, self.without, self.trim, *self.after_sources)):
            if not (REPO / name).exists():
                raise BuildError(f"{name} is missing (requirements are written by hack/lock)")

    def key(self) -> str:
        """The locked lines and everything else that shapes the folder."""
        extra = [(REPO / name).read_text() for name in self.after_sources]
        return _hash([self._lines(), self.program, self._patterns(), trimming.ALWAYS, extra, _COMPILE, sys.version])

    def stage(self, root: Path) -> None:
        """Install into `root`, trim, compile."""
        site = root / SITE
        site.mkdir(parents=True)
        lock = root.with_name(root.name + ".txt")
        lock.write_text(self._lines())
        # `after` may change files in place, which must not reach the package manager's cache through a hard link
        link = "copy" if self.after else "hardlink"
        install(lock, site, f"--link-mode={link}")
        lock.unlink()
        if self.program:
            place = root / "usr/local/bin" / self.program
            place.parent.mkdir()
            shutil.copy(site / "bin" / self.program, place)
            shutil.rmtree(root / "usr/local/lib")
            return
        if self.after:
            self.after(site)
        trimming.trim(self._patterns(), site)
        compile_tree(root)

    def _patterns(self) -> list[str]:
        return trimming.read(REPO / self.trim) if self.trim else []

    def _lines(self) -> str:
        entries = _entries(self.file)
        skip = _entries(self.without) if self.without else {}
        for name, lines in skip.items():
            if name in entries and entries[name] != lines:
                raise BuildError(f"{self.file} and {self.without} lock different versions of {name}: run hack/lock")
        return "".join(text for name, text in entries.items() if name not in skip)


@dataclass(frozen=True)
class Files:
    """Folders or files of the repository, each with the place it gets; Python in them is compiled."""

    pairs: tuple[tuple[str, str], ...]
    hint: str = ""

    def check(self) -> None:
        """Name what is not there yet."""
        for source, _ in self.pairs:
            if not (REPO / source).exists():
                raise BuildError(f"{source} does not exist{self.hint and ': ' + self.hint}")

    def key(self) -> str:
        """Every file's name and content."""
        parts: list[object] = [_COMPILE, sys.version]
        for source, target in self.pairs:
            for path in tree(REPO / source):
                mode = "x" if os.access(path, os.X_OK) else ""
                parts.append((target, str(path.relative_to(REPO)), mode, hashlib.sha256(path.read_bytes()).hexdigest()))
        return _hash(parts)

    def stage(self, root: Path) -> None:
        """Copy and compile."""
        for source, target in self.pairs:
            top = REPO / source
            for path in tree(top):
                place = root / target / path.relative_to(top) if top.is_dir() else root / target
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
        compile_tree(root)


def tree(top: Path) -> list[Path]:
    """The files at or below a path, in a fixed order, without what Python leaves behind."""
    found = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    return sorted(path for path in found if "__pycache__" not in path.parts and path.suffix != ".pyc")


def install(lock: Path, site: Path, *options: str) -> None:
    """Install locked requirements into a folder, and nothing that they do not name."""
    command = [str(UV), "pip", "install", "-q", "--no-config", "--python", sys.executable, "--target", str(site)]
    command += ["--no-deps", "--require-hashes", "--no-compile-bytecode", *options, "-r", str(lock)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise BuildError(f"uv could not install {lock}:\n{run.stderr.strip()}")


def compile_tree(root: Path) -> None:
    """Compile all modules, in two processes with fixed shares: bytecode depends on what its process compiled before."""
    files = [str(path) for path in sorted(root.rglob("*.py"))]
    runs = []
    for share in (files[0::2], files[1::2]):
        for begin in range(0, len(share), 2000):
            command = [sys.executable, "-I", "-W", "ignore", "-c", _COMPILE, str(root), *share[begin : begin + 2000]]
            runs.append(command)
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for begin in range(0, len(runs), 2):
        group = [subprocess.Popen(command, env=environment) for command in runs[begin : begin + 2]]
        statuses = [process.wait() for process in group]
        if any(statuses):
            raise BuildError(f"compiling the Python files of {root} failed")


def _entries(file: str) -> dict[str, str]:
    text = (REPO / file).read_text()
    blocks = re.findall(
        r"^([A-Za-z0-9][A-Za-z0-9._-]*)((?:.*\\\n)*.*\n)", re.sub(r"^ +#.*\n", "", text, flags=re.M), re.M
    )
    return {name.lower(): name + rest for name, rest in blocks}


def _hash(parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()

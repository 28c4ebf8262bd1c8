"""A layer of unpacked Debian packages: only the files, without package scripts, documentation and a package database."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .python import compile_tree
from .store import HOME, BuildError, say

SKIP = ("./usr/share/doc/*", "./usr/share/man/*", "./usr/share/lintian/*", "./usr/share/locale/*", "./usr/share/info/*")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/tmp:/bin/sh\n"
GROUP = "root:x:0:\nnonroot:x:65532:\n"


@dataclass(frozen=True)
class Packages:
    """Packages to unpack. `paths`: keep only these paths (all if empty); `drop`: patterns to remove afterwards."""

    names: tuple[str, ...]
    base: bool = False
    paths: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    compiled: bool = False

    def check(self) -> None:
        """Refuse early on a machine that cannot do it."""
        for program in ("apt-get", "dpkg-deb"):
            if not shutil.which(program):
                raise BuildError(
                    f"images without a Docker daemon are made of Debian packages: {program} is missing here"
                )

    def key(self) -> str:
        """The packages' exact versions, and what is done with them."""
        files = sorted(f"{name} {digest}" for name, digest, _ in self._listing())
        text = [*files, self.base, self.paths, self.drop, self.compiled, SKIP, PASSWD, GROUP]
        return hashlib.sha256(repr(text).encode()).hexdigest()

    def stage(self, root: Path) -> None:
        """Unpack into `root`."""
        for folder in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64"):
            (root / folder).mkdir(parents=True)
            (root / folder.removeprefix("usr/")).symlink_to(folder)
        for deb in self._download():
            files = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
            exclude = [f"--exclude={pattern}" for pattern in SKIP]
            subprocess.run(
                ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", root, *exclude],
                stdin=files.stdout,
                check=True,
            )
            if files.wait():
                raise BuildError(f"{deb} does not unpack")
        if self.paths:
            _keep_only(root, self.paths)
        for pattern in self.drop:
            for path in root.glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        if self.compiled:
            compile_tree(root)
        if self.base:
            _complete_base(root)
            return
        for name in ("bin", "sbin", "lib", "lib64"):  # the base has these links
            (root / name).unlink(missing_ok=True)
        for top, folders, _ in os.walk(root, topdown=False):
            for name in folders:
                path = Path(top, name)
                if not path.is_symlink() and not any(path.iterdir()):
                    path.rmdir()

    def _listing(self) -> list[tuple[str, str, int]]:
        """Name, hash and size of each package's file; asking apt takes seconds, so the answer is kept while its lists last."""
        lists = sorted((path.name, path.stat().st_mtime_ns) for path in Path("/var/lib/apt/lists").glob("*_*"))
        note = HOME / "debs" / f"listing-{hashlib.sha256(repr((self.names, lists)).encode()).hexdigest()[:16]}.json"
        if note.exists():
            return [(name, digest, size) for name, digest, size in json.loads(note.read_text())]
        command = ["apt-get", "-qq", "download", "--print-uris", *self.names]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode and os.geteuid() == 0:
            say("apt-get update")
            subprocess.run(["apt-get", "-qq", "update"], capture_output=True)
            return self._again(command)
        return self._parse(run, note)

    def _again(self, command: list[str]) -> list[tuple[str, str, int]]:
        return self._parse(subprocess.run(command, capture_output=True, text=True), None)

    def _parse(self, run: subprocess.CompletedProcess[str], note: Path | None) -> list[tuple[str, str, int]]:
        if run.returncode:
            raise BuildError(f"apt-get knows no such packages: {run.stderr.strip()}\n  try: apt-get update")
        found = re.findall(r"^'[^']+' (\S+) (\d+) (\S+)$", run.stdout, re.M)
        listing = [(name, digest, int(size)) for name, size, digest in found]
        if note:
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(listing))
        return listing

    def _download(self) -> list[Path]:
        folder = HOME / "debs"
        folder.mkdir(parents=True, exist_ok=True)
        listing = self._listing()
        missing = [
            name for name, _, size in listing if not (folder / name).exists() or (folder / name).stat().st_size != size
        ]
        if missing:
            say(f"downloading {len(missing)} Debian packages")
            wanted = [name.split("_")[0] for name in missing]
            run = subprocess.run(
                ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *wanted],
                cwd=folder,
                capture_output=True,
                text=True,
            )
            if run.returncode:
                raise BuildError(f"apt-get download failed: {run.stderr.strip()}")
        return sorted(folder / name for name, _, _ in listing)


def _keep_only(root: Path, paths: tuple[str, ...]) -> None:
    kept = root.with_name(root.name + ".kept")
    for pattern in paths:
        found = sorted(root.glob(pattern))
        if not found:
            raise BuildError(f"the Debian packages have no {pattern}")
        for path in found:
            target = kept / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    shutil.rmtree(root)
    kept.rename(root)


def _complete_base(root: Path) -> None:
    """Do by hand the little that package scripts would: users, certificates, busybox's names."""
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    tmp = root / "tmp"
    tmp.mkdir(exist_ok=True)
    tmp.chmod(0o1777)
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(path.read_bytes() for path in certificates))
    busybox = root / "usr/bin/busybox"
    if not busybox.exists():
        return
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        if not (root / "usr/bin" / name).exists():
            (root / "usr/bin" / name).symlink_to("busybox")

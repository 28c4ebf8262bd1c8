"""Make the CUDA build of torch from PyPI importable without NVIDIA's 4 GB of libraries (CPU use only).

For each NVIDIA library that torch/lib links and that is absent, write a tiny shared object with the same soname,
symbol versions and symbols: C functions answer 100 (cudaErrorNoDevice), *String/*Name functions a C string,
C++ functions the address of zeroed scratch memory. Then punch the GPU code out of the remaining libraries.
usage: torch_cpu_stubs.py SITE_PACKAGES/torch/lib     (needs gcc and pyelftools; 9 s)
"""

from __future__ import annotations

import collections
import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from elftools.elf.elffile import ELFFile

MARK = b"tidemill-cuda-stub"
SYSTEM = (
    *("libc.so", "libm.so", "libdl", "libpthread", "librt", "libgcc_s", "libstdc++", "ld-linux", "libgomp"),
    *("libutil", "libquadmath", "libz."),
)
SYSTEM_LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1", "libc.so.6", "libm.so.6", "libgomp.so.1", "ld-linux-x86-64.so.2")
PUNCH_HOLE_AND_KEEP_SIZE = 3

Versions = dict[str, set[str]]  # symbol version -> symbols; "" holds those without a version


class Dynamic(NamedTuple):
    """What a library needs and has."""

    needed: list[str]
    undefined: list[tuple[str, tuple[str, str] | None]]  # strong symbols, each with (file, version)
    defined: set[str]


def read(path: Path | str) -> Dynamic:
    """Read a library's dynamic section and symbols."""
    with open(path, "rb") as file:
        elf: Any = ELFFile(file)
        needed = [t.needed for t in elf.get_section_by_name(".dynamic").iter_tags() if t.entry.d_tag == "DT_NEEDED"]
        versym, verneed = (elf.get_section_by_name(name) for name in (".gnu.version", ".gnu.version_r"))
        versions = {}
        if verneed:
            versions = {aux["vna_other"]: (n.name, aux.name) for n, found in verneed.iter_versions() for aux in found}
        undefined: list[tuple[str, tuple[str, str] | None]] = []
        defined = set()
        for i, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
            if not symbol.name:
                continue
            if symbol["st_shndx"] != "SHN_UNDEF":
                defined.add(symbol.name)
            elif symbol["st_info"]["bind"] != "STB_WEAK":
                index = versym.get_symbol(i)["ndx"] if versym else 0
                undefined.append((symbol.name, versions.get(index) if isinstance(index, int) else None))
        return Dynamic(needed, undefined, defined)


def remove_old(folder: Path) -> None:
    """Stand-ins of an earlier torch would hide what a new one needs."""
    for path in list(folder.iterdir()):
        if ".so" in path.name and path.stat().st_size < 200_000 and MARK in path.read_bytes():
            path.unlink()


def system_symbols() -> set[str]:
    """The symbols of the C and C++ libraries of this machine."""
    symbols: set[str] = set()
    for name in SYSTEM_LIBRARIES:
        for folder in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"):
            if os.path.exists(f"{folder}/{name}"):
                symbols |= read(f"{folder}/{name}").defined
                break
    return symbols


def wanted(folder: Path) -> dict[str, Versions]:
    """For each absent library, the symbols that torch takes from it."""
    libraries = {path.name: read(path) for path in folder.iterdir() if ".so" in path.name and path.is_file()}
    real = folder.parents[1] / "nvidia"  # NVIDIA packages that are installed stay in use: the rpath finds them first
    present = {path.name for path in real.rglob("*.so*")} if real.exists() else set()
    needed = {name for library in libraries.values() for name in library.needed}
    missing = {name for name in needed if name not in libraries and not name.startswith(SYSTEM)} - present
    defined = system_symbols().union(*(library.defined for library in libraries.values()))
    stubs: dict[str, Versions] = {name: collections.defaultdict(set) for name in sorted(missing)}
    home = min(missing, default=None)  # symbols without a version may come from any of them
    for library in libraries.values():
        for symbol, version in library.undefined:
            if symbol in defined:
                continue
            if version and version[0] in missing:
                stubs[version[0]][version[1]].add(symbol)
            elif not version and home and not symbol.startswith(("Py", "_Py")):
                stubs[home][""].add(symbol)
    return stubs


def body(symbol: str) -> str:
    """What a stand-in's function does."""
    if symbol.startswith("_Z"):
        return "lea scratch(%rip),%rax"
    if symbol.endswith(("String", "Name")):
        return "lea msg(%rip),%rax"
    return "mov $100,%eax"


def write(folder: Path, soname: str, versions: Versions) -> None:
    """Assemble and link one stand-in."""
    assembly = [".text"]
    for symbol in sorted(set().union(*versions.values())):
        assembly += [f'.globl "{symbol}"', f'.type "{symbol}",@function', f'"{symbol}": {body(symbol)}', "ret"]
    assembly += [".section .rodata", f'msg: .asciz "no CUDA device ({MARK.decode()})"', ".bss", ".balign 64"]
    assembly += ["scratch: .zero 4096", '.section .note.GNU-stack,"",@progbits']
    source, script = folder / "_stub.s", folder / "_stub.map"
    source.write_text("\n".join(assembly) + "\n")
    named = {version: sorted(symbols) for version, symbols in versions.items() if version}
    lines = []
    for version in sorted(named):
        symbols = " ".join(f'"{symbol}";' for symbol in named[version])
        lines.append(f"{version} {{ global: {symbols} }};")
    script.write_text("\n".join(lines))
    options = [f"-Wl,--version-script={script}"] if named else []
    command = ["gcc", "-shared", "-nostdlib", "-fPIC", "-o", str(folder / soname), str(source), f"-Wl,-soname,{soname}"]
    try:
        subprocess.run([*command, "-Wl,--build-id=none", *options], check=True)
    finally:
        source.unlink()
        script.unlink()


def punch(folder: Path) -> int:
    """Give the disk space of GPU code back; returns the bytes freed."""
    freed = 0
    fallocate = ctypes.CDLL(None).fallocate
    for path in sorted(folder.glob("libtorch_*.so")):
        with open(path, "r+b") as file:
            for name in (".nv_fatbin", "__nv_relfatbin"):
                section: Any = ELFFile(file).get_section_by_name(name)
                if not section:
                    continue
                offset, size = ctypes.c_long(section["sh_offset"]), ctypes.c_long(section["sh_size"])
                if fallocate(file.fileno(), PUNCH_HOLE_AND_KEEP_SIZE, offset, size) == 0:
                    freed += section["sh_size"]
    return freed


def main(folder: Path) -> None:
    """Do it for one torch/lib."""
    remove_old(folder)
    stubs = wanted(folder)
    for soname, versions in stubs.items():
        write(folder, soname, versions)
    freed = punch(folder)
    print(f"{len(stubs)} stand-ins: {' '.join(stubs)}; {freed >> 20} MiB of GPU code punched out")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

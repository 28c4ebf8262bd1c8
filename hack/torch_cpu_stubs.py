"""Make the CUDA build of torch from PyPI importable without NVIDIA's 4 GB of libraries (CPU use only).

For each NVIDIA library that torch/lib links and that is absent, write a tiny shared object with the same soname,
symbol versions and symbols: C functions answer 100 (cudaErrorNoDevice), *String/*Name functions a C string,
C++ functions the address of zeroed scratch memory. Then punch the GPU code out of the remaining libraries.
usage: torch_cpu_stubs.py SITE_PACKAGES/torch/lib     (needs gcc and pyelftools; 9 s)
"""
import collections, ctypes, os, pathlib, subprocess, sys
from elftools.elf.elffile import ELFFile

lib = pathlib.Path(sys.argv[1])
MARK = b"tidemill-cuda-stub"
SYSTEM = ("libc.so", "libm.so", "libdl", "libpthread", "librt", "libgcc_s", "libstdc++", "ld-linux", "libgomp",
          "libutil", "libquadmath", "libz.")


def dyn(path):
    """(needed sonames, [(undefined strong symbol, (file, version) or None)], defined symbols)"""
    with open(path, "rb") as f:
        elf = ELFFile(f)
        needed = [t.needed for t in elf.get_section_by_name(".dynamic").iter_tags() if t.entry.d_tag == "DT_NEEDED"]
        versym, verneed = (elf.get_section_by_name(n) for n in (".gnu.version", ".gnu.version_r"))
        ver = {a["vna_other"]: (n.name, a.name) for n, aux in verneed.iter_versions() for a in aux} if verneed else {}
        undefined, defined = [], set()
        for i, s in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
            if not s.name:
                continue
            if s["st_shndx"] != "SHN_UNDEF":
                defined.add(s.name)
            elif s["st_info"]["bind"] != "STB_WEAK":
                ndx = versym.get_symbol(i)["ndx"] if versym else 0
                undefined.append((s.name, ver.get(ndx) if isinstance(ndx, int) else None))
        return needed, undefined, defined


for p in list(lib.iterdir()):  # stand-ins of an earlier torch would hide what a new one needs
    if ".so" in p.name and p.stat().st_size < 200_000 and MARK in p.read_bytes():
        p.unlink()
info = {p.name: dyn(p) for p in lib.iterdir() if ".so" in p.name and p.is_file()}
real = lib.parents[1] / "nvidia"  # NVIDIA packages that are installed stay in use (RPATH finds them first)
present = {p.name for p in real.rglob("*.so*")} if real.exists() else set()
missing = {n for need, _, _ in info.values() for n in need if n not in info and not n.startswith(SYSTEM)} - present
defined = set().union(*(d for _, _, d in info.values()))
for n in ("libstdc++.so.6", "libgcc_s.so.1", "libc.so.6", "libm.so.6", "libgomp.so.1", "ld-linux-x86-64.so.2"):
    for d in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"):
        if os.path.exists(f"{d}/{n}"):
            defined |= dyn(f"{d}/{n}")[2]
            break
stub = collections.defaultdict(lambda: collections.defaultdict(set), {m: collections.defaultdict(set) for m in missing})
home = min(missing, default=None)
for _, undefined, _ in info.values():
    for s, v in undefined:
        if s in defined:
            continue
        if v and v[0] in missing:
            stub[v[0]][v[1]].add(s)
        elif not v and home and not s.startswith(("Py", "_Py")):
            stub[home][""].add(s)
for so, versions in stub.items():
    asm = [".text"]
    for s in sorted(set().union(*versions.values())):
        body = "lea scratch(%rip),%rax" if s.startswith("_Z") else \
            "lea msg(%rip),%rax" if s.endswith(("String", "Name")) else "mov $100,%eax"
        asm += [f'.globl "{s}"', f'.type "{s}",@function', f'"{s}": {body}', "ret"]
    asm += [".section .rodata", f'msg: .asciz "no CUDA device ({MARK.decode()})"', ".bss", ".balign 64",
            "scratch: .zero 4096", '.section .note.GNU-stack,"",@progbits']
    src, vmap = lib / "_s.s", lib / "_s.map"
    src.write_text("\n".join(asm) + "\n")
    named = {v: syms for v, syms in versions.items() if v}
    vmap.write_text("\n".join(f"{v} {{ global: {' '.join(f'{chr(34)}{s}{chr(34)};' for s in sorted(x))} }};" for v, x in named.items()))
    script = [f"-Wl,--version-script={vmap}"] if named else []
    subprocess.run(["gcc", "-shared", "-nostdlib", "-fPIC", "-o", lib / so, src, f"-Wl,-soname,{so}", *script], check=True)
    src.unlink(), vmap.unlink()
punched = 0
for p in lib.glob("libtorch_*.so"):
    with open(p, "r+b") as f:
        for name in (".nv_fatbin", "__nv_relfatbin"):
            s = ELFFile(f).get_section_by_name(name)
            if s and not ctypes.CDLL(None).fallocate(f.fileno(), 3, ctypes.c_long(s["sh_offset"]), ctypes.c_long(s["sh_size"])):
                punched += s["sh_size"]
print(f"{len(stub)} stand-ins: {' '.join(sorted(stub))}; {punched >> 20} MiB of GPU code punched out")

"""Pack the pause program into a docker-archive: the one image that the embedded node needs for itself."""

import hashlib
import io
import json
import sys
import tarfile


def member(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    """Add a file whose bytes in the archive depend on nothing but its arguments."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def main(program: str, out: str) -> None:
    """Write the image of `program` to the file `out`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar, open(program, "rb") as file:
        member(tar, "pause", file.read(), 0o755)
    layer = buffer.getvalue()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/pause"], "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": ["localhost/tidemill/pause:1"], "Layers": ["layer.tar"]}]
    with tarfile.open(out, "w") as tar:
        member(tar, "config.json", config)
        member(tar, "layer.tar", layer)
        member(tar, "manifest.json", json.dumps(manifest).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])

"""hack/images: build, list and hand out the project's container images.

hack/images build [NAME…]     build them (all); what has not changed is taken from the cache
hack/images list              name, size and layers of what has been built
hack/images digests [NAME…]   a fragment of Helm values that fixes the built images by digest
hack/images reference NAME    the full name of a built image, for `image:` in a manifest
hack/images archive NAME… > X one OCI archive of built images, which Docker, containerd and podman load
hack/images push PREFIX [NAME…]  push built images to a registry, as PREFIX/NAME (PREFIX: registry.example.org/tidemill), and
                              print the same fragment with what they are called there; --insecure: without TLS
hack/images crane             where the program is that push uses; compiled if it is not there yet
hack/images unpack NAME DIR   a built image's files, for running its programs on this machine
hack/images prune             remove from the cache what no newest image needs
With a Docker daemon (or TIDEMILL_IMAGES=docker) images/<name>/Dockerfile is built instead; TIDEMILL_IMAGES=packages never.
TIDEMILL_IMAGES=FILE, which `push` printed: nothing is built; list, digests, reference are of the images in that
registry.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import builder, docker, origin, registry
from .archive import export
from .recipes import RECIPES, REPOSITORY
from .store import BuildError, Image, recall_image, say


def main(arguments: list[str]) -> int:
    """Run a verb."""
    parser = argparse.ArgumentParser(prog="hack/images", usage=__doc__, add_help=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("build", "digests"):
        verbs.add_parser(verb).add_argument("names", nargs="*")
    push = verbs.add_parser("push")
    push.add_argument("--insecure", action="store_true")
    push.add_argument("prefix")
    push.add_argument("names", nargs="*")
    for verb in ("list", "names", "prune", "superseded", "crane"):
        verbs.add_parser(verb)
    verbs.add_parser("reference").add_argument("name")
    unpack = verbs.add_parser("unpack")
    unpack.add_argument("name")
    unpack.add_argument("folder", type=Path)
    archive = verbs.add_parser("archive")
    archive.add_argument("names", nargs="+")
    archive.add_argument("--present-blobs", type=Path, help="a folder of blobs that the reader has already")
    missing = verbs.add_parser("missing")
    missing.add_argument("names", nargs="*")
    missing.add_argument(
        "--present", type=Path, required=True, help="a file with the names of the images that are there"
    )
    options = parser.parse_args(arguments)
    try:
        return int(globals()["_" + options.verb](options) or 0)
    except BuildError as error:
        print(f"images: error: {error}", file=sys.stderr)
        return 1


def _build(options: argparse.Namespace) -> int:
    names = _known(options.names) or list(RECIPES)
    if origin.given() is not None:
        say(f"nothing to build: images are those of {origin.where()}")
        return 0
    if origin.by_docker():
        for name in names:
            docker.build(name)
        return 0
    failures = []
    for name in names:
        try:
            builder.build(name)
        except BuildError as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise BuildError("not built:\n  " + "\n  ".join(failures))
    return 0


def _list(_: argparse.Namespace) -> None:
    if origin.given() is not None:
        print(*(image.by_digest for image in _built([])), sep="\n")
        return
    print(f"{'IMAGE':52} {'PACKED':>9} {'UNPACKED':>9}  LAYERS (unpacked MB)")
    for image in _built([]):
        unpacked = sum(layer.unpacked for layer in image.layers)
        packed = sum(layer.size for layer in image.layers)
        layers = " ".join(f"{layer.unpacked / 1e6:.1f}" for layer in image.layers)
        print(f"{image.reference:52} {packed / 1e6:6.1f} MB {unpacked / 1e6:6.1f} MB  {layers}")


def _names(_: argparse.Namespace) -> None:
    print(*(image.name for image in _built([])), sep="\n")


def _digests(options: argparse.Namespace) -> None:
    images = _built(_known(options.names))
    print(registry.fragment(images))
    if loose := [image.name for image in images if not image.digest]:
        say(
            f"no digest, only a tag: {', '.join(loose)}; Docker's images get their digests from a registry: hack/images push"
        )


def _push(options: argparse.Namespace) -> None:
    images = _local(_known(options.names))
    if not images:
        raise BuildError("nothing has been built: run hack/images build")
    print(registry.fragment([registry.push(image, options.prefix, insecure=options.insecure) for image in images]))


def _crane(_: argparse.Namespace) -> None:
    print(registry.crane())


def _reference(options: argparse.Namespace) -> None:
    (image,) = _built(_known([options.name]))
    print(image.by_digest)


def _archive(options: argparse.Namespace) -> None:
    if os.isatty(1):
        raise BuildError("an archive goes to a file or a pipe, not to a terminal")
    images = _local(_known(options.names))
    if origin.by_docker():
        docker.save(images)
        return
    export(images, sys.stdout.buffer, present=options.present_blobs)


def _missing(options: argparse.Namespace) -> None:
    present = set(options.present.read_text().split())
    for image in _built(_known(options.names)):
        if image.reference not in present or image.by_digest not in present:
            print(image.name)


def _superseded(_: argparse.Namespace) -> None:
    newest = {name for image in _local([]) for name in (image.reference, image.by_digest)}
    repositories = tuple(f"{REPOSITORY}/{name}{mark}" for name in RECIPES for mark in ":@")
    for name in sys.stdin.read().split():
        if name.startswith(repositories) and name not in newest:
            print(name)


def _unpack(options: argparse.Namespace) -> None:
    (image,) = _local(_known([options.name]))
    builder.unpack(image, options.folder)


def _prune(_: argparse.Namespace) -> None:
    builder.prune(_local([]))


def _known(names: list[str]) -> list[str]:
    for name in names:
        if name not in RECIPES:
            raise BuildError(f"no image is called {name!r}: there are {', '.join(RECIPES)}")
    return names


def _built(names: list[str]) -> list[Image]:
    """The images to use: those of the registry that TIDEMILL_IMAGES names, else those that were built here."""
    there = origin.given()
    if there is None:
        return _local(names)
    if missing := [name for name in names if name not in there]:
        raise BuildError(f"{origin.where()} has no {', '.join(missing)}: it has {', '.join(there) or 'no image'}")
    return [there[name] for name in names or there]


def _local(names: list[str]) -> list[Image]:
    found = []
    for name in names or RECIPES:
        image = recall_image(name)
        if image:
            found.append(image)
        elif names:
            raise BuildError(f"{name} has not been built: run hack/images build {name}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What the sources are, without reading them: a digest over a listing. While it is the same there is nothing new to prepare."""

from __future__ import annotations

from collections.abc import Iterable

from tidemill.contract.canonical import digest
from tidemill.contract.tasks import ResolvedInput
from tidemill_worker.data import inference_log
from tidemill_worker.data.sources import Loader
from tidemill_worker.errors import ObjectNotFound
from tidemill_worker.store import StoredObject

Listing = list[list[str]]


def source_digest(loader: Loader, inputs: Iterable[ResolvedInput]) -> str:
    """Of addresses, ETags and sizes of objects; names, sizes and times of files; digests of Dataset versions and web files.

    Taken before anything is read: should a source change meanwhile, the next look finds another digest, and looks again.
    """
    return digest([[item.name, _listing(loader, item, index)] for index, item in enumerate(inputs)])


def _listing(loader: Loader, item: ResolvedInput, index: int) -> Listing:
    field, label = f"spec.inputs[{index}]", f"input {item.name}"
    try:
        if item.s3 is not None:
            _, objects = loader.objects(item.s3, field=f"{field}.s3", label=label)
            return _objects(objects)
        if item.inference_log is not None:
            return _objects(inference_log.listing(loader, item.inference_log, index))
        if item.volume is not None:
            volume, files = loader.volume_files(item.volume, field=f"{field}.volume", label=label)
            return [[volume.uri(name), *map(str, volume.stamp(name))] for name in files]
    except ObjectNotFound:  # whoever reads it says so, with the field
        return []
    if item.http is not None:
        return [[item.http.url, item.http.sha256.lower()]]
    assert item.dataset is not None
    return [[item.dataset.digest]]


def _objects(found: Iterable[StoredObject]) -> Listing:
    return [[o.uri, o.etag or o.modified.isoformat(), str(o.size)] for o in found]

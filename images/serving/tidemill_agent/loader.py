"""Putting one version on the server: fetch, verify, check under a hidden name, swap, tidy up. And taking it off."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from itertools import pairwise

from tidemill.api.v1alpha1.modelplacement import ModelPlacementSpec
from tidemill_agent import log, modelconfig
from tidemill_agent.artifacts import ArtifactCache, ModelArtifact
from tidemill_agent.counters import Counters
from tidemill_agent.errors import AgentError, LoadError, TritonUnavailable
from tidemill_agent.probe import probe
from tidemill_agent.repository import Change, Repository
from tidemill_agent.triton import Triton

CHECK_SUFFIX = ".check"
"""A Deployment's name has no dot, so nobody's public name is taken; and the tap samples only names it was told."""


class Loader:
    """Loads and unloads models. One call at a time for a deployment; several deployments at once."""

    def __init__(self, triton: Triton, repository: Repository, cache: ArtifactCache, counters: Counters) -> None:
        self._triton, self._repository, self._cache, self._counters = triton, repository, cache, counters

    async def _fetch(self, spec: ModelPlacementSpec) -> ModelArtifact:
        """The verified artifact."""
        return await asyncio.to_thread(self._cache.fetch, spec.artifact_uri, spec.artifact_digest)

    async def load(self, spec: ModelPlacementSpec) -> str:
        """Make the deployment's public name answer with this version; returns the name of the backend that runs it.

        On any error what answered before still does.
        """
        times = [time.monotonic()]
        artifact = await self._fetch(spec)
        times.append(time.monotonic())
        await self._check(spec, artifact)
        times.append(time.monotonic())
        await self._swap(spec, artifact)
        times.append(time.monotonic())
        fetch, check, swap = (round(end - start, 3) for start, end in pairwise(times))
        log.info("a version is swapped in", deployment=spec.deployment, fetch=fetch, check=check, swap=swap)
        return modelconfig.marks_of(await self._triton.config(spec.deployment, spec.version)).backend

    async def _check(self, spec: ModelPlacementSpec, artifact: ModelArtifact) -> None:
        name = spec.deployment + CHECK_SUFFIX
        await self._write(name, spec, artifact)
        try:
            await self._triton.load(name)
            await probe(self._triton, name=name, version=spec.version, signature=artifact.signature)
        finally:
            with suppress(AgentError):
                await self._triton.unload(name)
            await asyncio.to_thread(self._repository.remove, name)

    async def _swap(self, spec: ModelPlacementSpec, artifact: ModelArtifact) -> None:
        name, version = spec.deployment, spec.version
        # Counted from the first request on: the bins must be there before the version is.
        await self._track(spec, artifact)
        change = await self._write(name, spec, artifact)
        try:
            await self._triton.load(name)
            if not await self._triton.model_ready(name, version):
                raise LoadError(f"Triton loaded {name} but version {version} is not ready")
        except BaseException:
            await asyncio.to_thread(change.rollback)
            raise
        self._counters.answers(name, version, spec.artifact_digest)
        await asyncio.to_thread(change.commit)

    async def _write(self, name: str, spec: ModelPlacementSpec, artifact: ModelArtifact) -> Change:
        config = modelconfig.render(
            name=name, spec=spec, signature=artifact.signature, user_config=artifact.user_config
        )
        return await asyncio.to_thread(
            self._repository.write, name, version=spec.version, config=config, artifact=artifact
        )

    async def adopt(self, spec: ModelPlacementSpec) -> None:
        """Count a version that an earlier process of this pod has loaded."""
        await self._track(spec, await self._fetch(spec))
        self._counters.answers(spec.deployment, spec.version, spec.artifact_digest)

    async def _track(self, spec: ModelPlacementSpec, artifact: ModelArtifact) -> None:
        args = (spec.deployment, spec.version, spec.artifact_digest, artifact.signature, artifact.baseline)
        await asyncio.to_thread(self._counters.track, *args)

    async def unload(self, name: str) -> None:
        """Take a model off the server; requests in flight are answered."""
        with suppress(TritonUnavailable):  # a server that is not there has nothing loaded
            await self._triton.unload(name)
        await asyncio.to_thread(self._repository.remove, name)

    def counted(self, deployment: str, version: int | None) -> None:
        """Only this version of a deployment is still loaded: the others' counters fade out."""
        self._counters.untrack(deployment, version, time.monotonic())

    async def prune(self, digests: set[str]) -> None:
        """Remove the artifacts of all other digests from the cache."""
        await asyncio.to_thread(self._cache.prune, digests)

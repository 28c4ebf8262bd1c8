"""Kinds of APIs that not every cluster serves: watched where it does, and looked for again while something waits for one.

Nothing is asked for the sake of a kind that nobody wants, but for one small list of it when the watches begin.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from tidemill.kube.client import Client
from tidemill.kube.errors import ApiError, ConnectionFailed
from tidemill.kube.resources import PROJECTS, ResourceType
from tidemill.runtime.seed import NOTHING

LOOK_SECONDS = 5.0
"""Between two looks: many resources may ask at once, each every few seconds."""
_log = logging.getLogger("tidemill.optional")


class OptionalKinds:
    """Knows which of them are to be had. Implements indices.Served."""

    def __init__(self, client: Client, types: Iterable[ResourceType], namespaces: Iterable[str]) -> None:
        self._client = client
        self._types = tuple(types)
        self._spaces = tuple(namespaces) or ("",)
        self._absent = {type_.kind: _not_served(type_) for type_ in self._types}
        self._wanted = asyncio.Event()

    def absent(self, kind: str) -> str | None:
        """Why a kind is not to be had, None when it is. Who asks in vain wants it: it is looked for."""
        why = self._absent.get(kind)
        if why is not None:
            self._wanted.set()
        return why

    def gone(self, type_: ResourceType) -> None:
        """The API server has just said that it does not serve a kind any more."""
        self._absent[type_.kind] = _not_served(type_)

    async def look(self) -> list[ResourceType]:
        """Those that are served and may be listed, as it is now. Raises ApiError or ConnectionFailed when nobody can say."""
        reasons = {type_.kind: await self._why_not(type_) for type_ in self._types}
        self._absent = {kind: why for kind, why in reasons.items() if why is not None}
        return [type_ for type_ in self._types if type_.kind not in self._absent]

    async def run(self, appeared: Callable[[], None]) -> None:
        """Look for what is wanted until cancelled; `appeared` is called when some of it is there."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            absent = set(self._absent)
            try:
                found = [type_.kind for type_ in await self.look() if type_.kind in absent]
            except (ApiError, ConnectionFailed) as error:
                _log.warning("the API server does not say what it serves, asked again: %s", error)
            else:
                if found:
                    _log.info("served by now: %s; all kinds are listed anew", ", ".join(found))
                    appeared()
            await asyncio.sleep(LOOK_SECONDS)

    async def _why_not(self, type_: ResourceType) -> str | None:
        query = {"limit": "1", "fieldSelector": NOTHING}
        try:
            for space in self._spaces:
                await self._client.request("list", type_.path(space or None), kind=type_.kind, query=query)
        except ApiError as error:
            if error.not_found:
                return _not_served(type_)
            if error.forbidden:
                return f"the operator may not list {type_.plural}.{type_.group}: give it this right"
            raise
        return None


def _not_served(type_: ResourceType) -> str:
    return f"the cluster does not serve {type_.api_version}: install {PROJECTS[type_.kind]}"

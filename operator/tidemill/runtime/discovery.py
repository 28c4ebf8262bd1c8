"""Which of the kinds that the operator knows this API server serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from tidemill.kube.client import Client
from tidemill.kube.errors import ApiError, ConnectionFailed
from tidemill.kube.resources import NAMESPACE, OPTIONAL, OURS, ResourceType
from tidemill.runtime.settings import Settings, SettingsError

RETRY_SECONDS = 3.0
LOOK_SECONDS = 30.0
"""Between two looks for kinds that were installed or removed while the operator runs."""
_log = logging.getLogger("tidemill.discovery")


class KindsChanged(Exception):
    """An optional kind is served now and was not before, or the other way round: what is watched has to be chosen anew."""


async def served(client: Client, types: Iterable[ResourceType]) -> list[ResourceType]:
    """Those of the types that the API server serves."""
    known: dict[str, set[str]] = {}
    result = []
    for type_ in types:
        if type_.api_version not in known:
            known[type_.api_version] = await _plurals(client, type_)
        if type_.plural in known[type_.api_version]:
            result.append(type_)
    return result


async def wait_for_kinds(client: Client, types: Iterable[ResourceType]) -> list[ResourceType]:
    """The served types, as soon as all of ours are among them. Children that are not served are left out."""
    wanted = list(types)
    while True:
        try:
            found = await served(client, wanted)
        except (ApiError, ConnectionFailed) as error:
            _log.warning("the API server does not say what it serves, asked again: %s", error)
        else:
            missing = [t for t in wanted if t not in found]
            absent = sorted(t.plural for t in missing if t.kind in OURS)
            if not absent:
                for type_ in missing:
                    level = logging.INFO if type_.kind in OPTIONAL else logging.WARNING
                    _log.log(level, "%s is not served here: not watched", type_.plural)
                return found
            _log.warning("waiting for the CRDs of %s: install the chart tidemill-crds", ", ".join(absent))
        await asyncio.sleep(RETRY_SECONDS)


async def changed(client: Client, types: Iterable[ResourceType], watched: Iterable[ResourceType]) -> None:
    """Look now and then which optional kinds are served. Raises KindsChanged once they are not those that are watched."""
    optional = [t for t in types if t.kind in OPTIONAL]
    before = {t.plural for t in watched if t.kind in OPTIONAL}
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            now = {t.plural for t in await served(client, optional)}
        except (ApiError, ConnectionFailed) as error:
            _log.info("the API server does not say what it serves, asked again: %s", error)
            continue
        if now != before:
            raise KindsChanged(
                ", ".join(f"{k} {'are' if k in now else 'are not'} served now" for k in sorted(now ^ before))
            )


async def require_namespaces(client: Client, settings: Settings) -> None:
    """Raises SettingsError when a namespace of the settings does not exist. Not being allowed to ask is no error."""
    named = [("watch.namespaces", name) for name in settings.watch.namespaces]
    for key, name in [*named, ("lease.namespace", settings.lease.namespace)]:
        try:
            if name:
                await client.request("get", NAMESPACE.path(None, name), kind="Namespace")
        except ApiError as error:
            if error.not_found:
                text = f"{key}: namespace {name!r} does not exist: create it, or name another"
                raise SettingsError(text, key=key) from error
            if not error.forbidden:
                raise


async def _plurals(client: Client, type_: ResourceType) -> set[str]:
    path = f"/apis/{type_.group}/{type_.version}" if type_.group else f"/api/{type_.version}"
    try:
        answer = await client.request("get", path, kind="APIResourceList")
    except ApiError as error:
        if error.not_found:
            return set()
        raise
    return {item["name"] for item in answer.get("resources") or ()}

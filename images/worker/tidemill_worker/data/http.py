"""One file of a web server, streamed to disk and hashed on the way.

Redirects are followed by urllib3, which takes the Authorization header off as soon as scheme, host or port is another one.
"""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    HTTPError,
    LocationParseError,
    LocationValueError,
    MaxRetryError,
    ResponseError,
    SSLError,
    URLSchemeUnknown,
)

from tidemill_worker import log
from tidemill_worker.context import Stop
from tidemill_worker.errors import AccessDenied, InvalidData, ObjectNotFound, SourceUnavailable
from tidemill_worker.progress import Tracker
from tidemill_worker.store import CHUNK

REDIRECTS = 10
WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds between tries. After the last the task ends, and the Job tries again later."""
_PASSING = {408, 425, 429, *range(500, 600)}


def shown(url: str) -> str:
    """A URL without its query, which may hold a signature: for messages, logs and the provenance."""
    return urlsplit(url)._replace(query="").geturl()


def download(url: str, target: Path, *, tracker: Tracker, stop: Stop, authorization: str | None = None) -> str:
    """Fetch a URL into a file; returns the sha256 of what arrived. Raises in the user's terms."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "tidemill"}
    if authorization is not None:
        headers["Authorization"] = authorization
    waits = iter(WAITS)
    pool = urllib3.PoolManager(ssl_context=ssl.create_default_context(), timeout=urllib3.Timeout(connect=5, read=60))
    with pool:
        while True:
            try:
                return _fetch(pool, url, headers, target, tracker, stop)
            except SourceUnavailable as error:
                wait = next(waits, None)
                if wait is None:
                    raise
                log.warn("download is tried again", url=shown(url), error=error.message)
                stop.event.wait(wait)
                stop.check()


def _fetch(
    pool: urllib3.PoolManager, url: str, headers: dict[str, str], target: Path, tracker: Tracker, stop: Stop
) -> str:
    """One try."""
    hashed, name = hashlib.sha256(), shown(url)
    retries = urllib3.Retry(
        total=None, redirect=REDIRECTS, connect=0, read=0, other=0, respect_retry_after_header=False
    )
    try:
        answer = pool.request("GET", url, headers=headers, retries=retries, preload_content=False)
        try:
            _check(answer.status, name)
            with target.open("wb") as file:
                # the length that the server announced is enforced: a connection cut early is no short file
                for chunk in answer.stream(CHUNK, decode_content=False):
                    hashed.update(chunk)
                    file.write(chunk)
                    tracker.read(len(chunk))
                    stop.check()
        finally:
            answer.close()
    except MaxRetryError as error:
        raise translated(error.reason or error, name) from error
    except (HTTPError, LocationValueError) as error:
        raise translated(error, name) from error
    return hashed.hexdigest()


def _check(status: int, name: str) -> None:
    if status == 200:
        return
    if status in (401, 403):
        raise AccessDenied(f"the server refused access to {name} ({status})")
    if status in (404, 410):
        raise ObjectNotFound(f"{name} does not exist ({status})")
    if status in _PASSING:
        raise SourceUnavailable(f"the server answered {status} for {name}")
    raise InvalidData(f"the server answered {status} for {name}, not with a file")


def translated(error: Exception, name: str) -> InvalidData | SourceUnavailable:
    """What a failed request means: is another try worth it?"""
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return InvalidData(f"the certificate of the server of {name} is not trusted: {error}")
    if isinstance(error, ResponseError):  # "too many redirects"
        return InvalidData(f"{name} redirects more than {REDIRECTS} times")
    if isinstance(error, URLSchemeUnknown | LocationParseError | LocationValueError):
        return InvalidData(f"{name} leads to an address that cannot be used: {error}")
    return SourceUnavailable(f"the server of {name} does not answer: {error}")

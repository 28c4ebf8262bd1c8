"""`python -m tidemill.runtime`: the operator process."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from tidemill.kube.config import ConfigError
from tidemill.kube.config import load as load_connection
from tidemill.reconcile.registry import RECONCILERS
from tidemill.runtime import logs
from tidemill.runtime.app import App
from tidemill.runtime.discovery import KindsChanged
from tidemill.runtime.options import load
from tidemill.runtime.settings import Settings, SettingsError

_log = logging.getLogger("tidemill")
EXIT_SETTINGS = 2


def main(arguments: list[str]) -> int:
    """The exit code: 0 after a signal, 2 for wrong settings, 1 for a failure."""
    try:
        settings = load(arguments, os.environ)
        logs.configure(level=settings.log.level, form=settings.log.format)
        return asyncio.run(_run(settings))
    except KindsChanged as change:
        # The same process from its beginning: nothing that is known of the old kinds is left, and no container restarts.
        _log.info("%s: beginning anew", change)
        os.execv(sys.executable, sys.orig_argv)
    except (SettingsError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_SETTINGS


async def _run(settings: Settings) -> int:
    try:
        connection = load_connection(settings.kubeconfig or None)
        await App(settings, reconcilers=RECONCILERS, connection=connection).run()
    except ConfigError as error:
        raise SettingsError(f"{error}{_from(settings, 'kubeconfig')}") from error
    except SettingsError as error:
        raise SettingsError(f"{error}{_from(settings, error.key)}") from error
    except OSError as error:
        _log.error("%s", error)
        return 1
    return 0


def _from(settings: Settings, key: str) -> str:
    origin = settings.origin(key)
    return f", from {origin}" if origin else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

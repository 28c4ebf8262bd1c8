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
from tidemill.runtime.settings import Settings, SettingsError, load

_log = logging.getLogger("tidemill")
EXIT_SETTINGS = 2


def main(arguments: list[str]) -> int:
    """The exit code: 0 after a signal, 2 for wrong settings, 1 for a failure."""
    try:
        settings = load(arguments, os.environ)
        logs.configure(level=settings.log.level, form=settings.log.format)
        return asyncio.run(_run(settings))
    except (SettingsError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_SETTINGS


async def _run(settings: Settings) -> int:
    connection = load_connection(settings.kubeconfig or None)
    app = App(settings, reconcilers=RECONCILERS, connection=connection)
    try:
        await app.run()
    except OSError as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

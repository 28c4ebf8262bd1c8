"""Kills the operator (SIGKILL) at random moments while the demo runs."""

from __future__ import annotations

import random
import threading

from flightsdemo import kubectl
from flightsdemo.install import SYSTEM
from flightsdemo.terminal import say


class OperatorKiller(threading.Thread):
    """Deletes the operator's pods without grace, `times` times, `least` to `most` seconds apart."""

    def __init__(self, times: int, *, least: float, most: float, seed: int) -> None:
        super().__init__(daemon=True)
        self._times, self._least, self._most = times, least, most
        self._random = random.Random(seed)
        self._over = threading.Event()
        self.killed = 0

    def run(self) -> None:
        """Until all kills are done or `stop` is called."""
        while self.killed < self._times and not self._over.wait(self._random.uniform(self._least, self._most)):
            kubectl.run(
                "delete",
                "pod",
                "-n",
                SYSTEM,
                "-l",
                "app.kubernetes.io/component=operator",
                "--grace-period=0",
                "--force",
            )
            self.killed += 1
            say(f"killed the operator, {self.killed} of {self._times}")

    def stop(self) -> None:
        """Kill no more."""
        self._over.set()
        self.join()

"""Kills the operator (SIGKILL) at random moments while the demo runs."""

from __future__ import annotations

import random
import threading

from flightsdemo import kubectl
from flightsdemo.install import SYSTEM, sigkill
from flightsdemo.kubectl import DemoError
from flightsdemo.terminal import say

OPERATOR = "app.kubernetes.io/component=operator"


class OperatorKiller(threading.Thread):
    """Kills the operator's process `times` times, `least` to `most` seconds apart.

    The pod is deleted after its process is dead: a container restarted in place waits longer after each kill, up to five
    minutes, and the demo would soon be over without an operator to kill.
    """

    def __init__(self, times: int, *, least: float, most: float, seed: int) -> None:
        super().__init__(daemon=True)
        self._times, self._least, self._most = times, least, most
        self._random = random.Random(seed)
        self._over = threading.Event()
        self.killed = 0

    def run(self) -> None:
        """Until all kills are done or `stop` is called."""
        while self.killed < self._times and not self._over.wait(self._random.uniform(self._least, self._most)):
            running = [c for pod in kubectl.listed("pod", SYSTEM, OPERATOR) for c in _running(pod)]
            if not running:
                continue  # it has not yet come back from the last time
            for container in running:
                sigkill(container)
            kubectl.run("delete", "pod", "-n", SYSTEM, "-l", OPERATOR, "--grace-period=0", "--force")
            self.killed += 1
            say(f"killed the operator, {self.killed} of {self._times}")

    def finish(self) -> None:
        """Wait for the kills that are still to come. Raises DemoError when a kill failed."""
        self.join()
        if self.killed < self._times:
            raise DemoError(f"the operator was killed {self.killed} times, not {self._times}; the reason stands above")

    def stop(self) -> None:
        """Kill no more."""
        self._over.set()
        self.join()


def _running(pod: kubectl.Object) -> list[str]:
    """The ids of the pod's running containers."""
    states = pod.get("status", {}).get("containerStatuses", ())
    return [state["containerID"] for state in states if "running" in state.get("state", {})]

"""The bench's simulator of kubelets and agents, as a process that goes on when the API server was away.

`python -m tests.faults.world` runs until SIGTERM, on the cluster of KUBECONFIG. At SIGHUP it lists everything anew: its
watches are those of a simple client, silent after a restore of etcd.
"""

from __future__ import annotations

import asyncio
import logging
import signal

from tests.bench.scale.simulator import WORKERS, Raw, Simulator

from tidemill.contract.names import LABEL_TASK
from tidemill.kube.client import Client
from tidemill.kube.config import load as load_connection

PAUSE_SECONDS = 0.5


class World(Simulator):
    """Also ends the tasks that an earlier one had only begun."""

    def on_pod(self, event: str, pod: Raw) -> None:
        """A pod has changed."""
        begun = (pod.get("status") or {}).get("phase") == "Running" and LABEL_TASK in pod["metadata"].get("labels", {})
        if event == "ADDED" and begun and "deletionTimestamp" not in pod["metadata"]:
            pod = {**pod, "status": {**pod["status"], "phase": "Pending"}}
        super().on_pod(event, pod)


async def main() -> None:
    """Simulate for ever; whatever it knew is listed again after a failure."""
    async with Client(load_connection(), user_agent="faults-world", connections=WORKERS) as client:
        while True:
            listed = asyncio.Event()
            running = asyncio.create_task(World(client).run(listed))
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, running.cancel)
            waiting = asyncio.create_task(listed.wait())
            await asyncio.wait([waiting, running], return_when=asyncio.FIRST_COMPLETED)
            if listed.is_set():
                print("ready", flush=True)
            waiting.cancel()
            await asyncio.wait([running])
            if not running.cancelled():  # the world does not end for an API server that is away
                logging.warning("begins again: %r", running.exception())
            await asyncio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    asyncio.run(main())

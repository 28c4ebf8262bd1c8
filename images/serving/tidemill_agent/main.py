"""The process: configuration, signals, exit code."""

from __future__ import annotations

import asyncio
import signal

import aiohttp

from tidemill.kube.client import Client
from tidemill.kube.config import ConfigError, load
from tidemill_agent import log
from tidemill_agent.agent import Agent
from tidemill_agent.environment import BadEnvironment, Environment
from tidemill_agent.trace import MINIMUM_VERSION


def main(*, minimum_for_trace: tuple[int, ...] = MINIMUM_VERSION) -> int:
    """Run the agent until SIGTERM. 0: ended as asked; 1: a part failed; 64: wrongly configured."""
    log.setup()
    try:
        environment, connection = Environment.read(), load()
    except (BadEnvironment, ConfigError) as error:
        log.warn("the agent cannot start", reason=str(error))
        return 64
    return asyncio.run(_run(environment, Client(connection, user_agent="tidemill-agent"), minimum_for_trace))


async def _run(environment: Environment, client: Client, minimum_for_trace: tuple[int, ...]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with client, aiohttp.ClientSession() as session:
        log.info("the agent starts", namespace=environment.namespace, pod=environment.pod, pool=environment.pool)
        try:
            await Agent(environment, client, session, minimum_for_trace=minimum_for_trace).run(stop)
        except* Exception:
            log.error("a part of the agent failed")
            return_code = 1
        else:
            return_code = 0
    log.info("the agent ends")
    return return_code

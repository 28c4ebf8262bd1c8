"""The agent as a process that traces the Triton at hand, which is older than the agent would trace.

For a few hundred requests over one connection: this old server's trace crashes it after tens of thousands.
"""

from __future__ import annotations

import sys

from tidemill_agent import trace
from tidemill_agent.main import main

if __name__ == "__main__":
    trace.FLUSH_SECONDS = 2.0
    sys.exit(main(minimum_for_trace=(2, 51)))

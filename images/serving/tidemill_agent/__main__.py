"""`python -m tidemill_agent`."""

from __future__ import annotations

import sys

from tidemill_agent.main import main

if __name__ == "__main__":
    sys.exit(main())

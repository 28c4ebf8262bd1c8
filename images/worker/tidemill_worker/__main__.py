"""`python -m tidemill_worker [TASK|@file]`."""

from __future__ import annotations

import sys

from tidemill_worker.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

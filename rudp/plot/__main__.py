"""`python -m rudp.plot`."""

from __future__ import annotations

import sys

from rudp.plot.command import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m rudp.cli`, the same as the `rudp` command."""

from __future__ import annotations

from rudp.cli.app import main

if __name__ == "__main__":
    main()

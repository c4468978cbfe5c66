"""The `rudp` command: parsing in process, everything that moves bytes as real processes."""

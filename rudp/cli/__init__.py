"""The `rudp` command: each subcommand is a module of this package, imported when it is called."""

"""One module a subcommand: its `command` object is what `rudp NAME` runs."""

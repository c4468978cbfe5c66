"""Files and directories over one stream: what `rudp send` and `rudp recv` are made of."""

"""rudp's state machine against the TCP of the Linux kernel, through a translator and a TUN."""

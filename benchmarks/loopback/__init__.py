"""Two processes on one machine, over its loopback."""

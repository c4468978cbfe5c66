"""`rudp doctor`: what this machine and the path to another can do, and what to change."""

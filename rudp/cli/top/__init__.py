"""`rudp top`: looks at the connections of running processes."""

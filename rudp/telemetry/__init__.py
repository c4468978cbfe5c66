"""Watching connections: the observer interface, and structlog events behind it."""

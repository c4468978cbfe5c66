"""rudp: a reliable byte stream over UDP for asyncio."""

__version__ = "0.1.0.dev0"

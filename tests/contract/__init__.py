"""The asyncio contract: the same tests on kernel TCP and on rudp, on both event loops."""

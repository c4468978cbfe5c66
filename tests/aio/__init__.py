"""The asyncio layer: what it adds to the contract that every stack keeps."""

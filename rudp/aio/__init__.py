"""The asyncio shell: sockets, endpoints, transports, servers, streams."""

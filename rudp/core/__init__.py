"""The protocol without I/O: connections, and the endpoint that tells them apart.

Nothing here opens a socket, reads a clock or raises on bytes from the network: `now_s` is an
argument, randomness is injected, datagrams go in and trains of segments come out.
"""

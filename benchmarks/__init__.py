"""Benchmarks: rudp beside kernel TCP and other transports, over loopback and emulated links.

Run them from a checkout: `python -m benchmarks --help`.
"""

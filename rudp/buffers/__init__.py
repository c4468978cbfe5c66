"""Byte containers of a connection: range sets, unacknowledged data, out-of-order data."""

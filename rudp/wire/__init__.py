"""Bytes and their meaning: sequence numbers, segments, trains of segments, options."""

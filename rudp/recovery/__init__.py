"""Loss recovery: round-trip times, what is in flight, what is lost. Knows no congestion control."""

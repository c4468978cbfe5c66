"""Other people's programs on top of rudp: the adapters of the examples, over a bad link."""

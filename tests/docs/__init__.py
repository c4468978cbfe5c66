"""The documentation: what its pages show runs, and what they name exists."""

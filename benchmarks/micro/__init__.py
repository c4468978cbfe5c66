"""Single operations, timed by pytest-benchmark: `make microbench`. A regression gets an address."""

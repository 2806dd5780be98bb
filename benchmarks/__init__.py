"""Measurements against peers, each in one run: `python -m benchmarks NAME`."""

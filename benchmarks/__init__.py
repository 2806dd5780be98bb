"""Benchmarks that measure this package and its peers in the same run: `python -m benchmarks NAME`."""

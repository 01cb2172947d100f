"""Benchmarks: what they compare, and against what, is said in each file."""

"""Benchmarks; each file describes what it measures, and against which baseline."""

"""Benchmarks: ratios of two things timed alternately in one process, run by hand.

python -m tests.benchmarks.training --data ../shared/data
"""

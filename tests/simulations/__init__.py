"""Populations of runs with a known truth, against what is said of them."""

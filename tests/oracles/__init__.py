"""Slow, obvious twins of the metrics in NumPy float64, and data to compare them on."""

"""Slow searches for inputs that do harm, by hand."""

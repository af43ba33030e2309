"""The built-in metrics: one file each, found by file name, with nothing else to edit."""

"""The run directory: its files, and reading them back. It loads no plugin and needs no torch."""

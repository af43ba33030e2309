"""The built-in plots: one file each, found by their names; `_style` is what they share."""

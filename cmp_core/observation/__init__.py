"""Observing any torch model: its modules' outputs as layers, measured like those of a run."""

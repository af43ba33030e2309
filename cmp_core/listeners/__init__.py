"""The listeners that every run has: log, checkpoints, status, test results and progress."""

"""The hooks, their payloads, what a metric sees of them, and the rows that come of it."""

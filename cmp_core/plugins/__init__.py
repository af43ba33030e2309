"""Finding, loading and calling plugins. What a metric or a plot is, it does not know."""

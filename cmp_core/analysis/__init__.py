"""Statistics over runs: the research questions, comparisons. It reads values and draws nothing."""

"""What a metric is, and how activations become rows. It trains nothing and draws nothing."""

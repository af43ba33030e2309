"""Several processes that train and measure one model together."""

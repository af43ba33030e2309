"""From what a dataset plugin returns to seeded splits that yield batches on the device."""

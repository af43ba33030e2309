"""The training loop, what it asks of models and learning rules, and the evaluation of splits."""

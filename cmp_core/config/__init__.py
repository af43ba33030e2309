"""The configuration of a run: its keys and rules, and reading it from YAML. It builds nothing."""

"""The built-in learning rules, one plugin file each."""

"""The built-in datasets, one plugin file each; files that begin with `_` are what they share."""

"""The built-in models, one plugin file each; files that begin with `_` are what they share."""

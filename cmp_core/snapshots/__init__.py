"""Activation snapshots: files that any HDF5 tool can open, see `docs/snapshot-format.md`."""

"""Verdicts for a shard's changes, from the VERL pool."""

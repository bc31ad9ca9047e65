"""Transactions over any keys of any shards (C4): optimistic reads, two-phase commit, one decision row."""

"""Judges of histories and journals. Each returns the violations it found, as sentences; none found is an empty list."""

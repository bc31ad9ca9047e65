"""Benchmarks: each a module that runs by itself, prints its ratios and writes a JSON file."""

"""VERL: what decides whether a write is valid. Pure: bodies in, verdicts out; verl_actor runs it."""

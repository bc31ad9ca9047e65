"""Deterministic simulation of the pure core, and the checkers that judge histories, simulated or real."""

"""What one would use instead: each a real server, started for the run, or absent with the reason.

A peer stores the same bytes, and answers bytes: validation, journal and models are the service's own surplus.
"""

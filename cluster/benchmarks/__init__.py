"""What the service costs beside what one would use instead, measured in turns on one machine.

`run` is the whole benchmark, behind `lightning-state bench`: `sides` are the ways to the service, `peers` what it is
compared with, `goals` what is expected. `store` measures the SQLite store by itself, as a module of its own.
"""

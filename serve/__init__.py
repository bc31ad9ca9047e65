"""HTTP over Ray Serve."""

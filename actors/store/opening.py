"""Which store a setting names."""

"""Start, stop, scale and measure the service."""

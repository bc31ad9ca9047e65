"""The ways to the service: by a client over the direct channel or over actor handles, and by HTTP."""

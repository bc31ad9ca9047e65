"""The OpenAPI document: written from the same models that read the requests."""

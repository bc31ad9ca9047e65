"""Workflows: applications of the client that keep their state in the service."""

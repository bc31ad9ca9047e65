"""The client, written for asyncio; its twin for threads is generated from it by unasyncd (pyproject.toml)."""

"""The HTTP client, written for asyncio; `_sync` is generated from it."""

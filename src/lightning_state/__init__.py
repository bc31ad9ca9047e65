"""Durable, versioned, validated state for agent applications on Ray."""

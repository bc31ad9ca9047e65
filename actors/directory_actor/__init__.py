"""The directory actor: the slot map, epochs and categories; and the watch over the shards."""

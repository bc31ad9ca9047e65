"""The shard actor: the pure shard, its store and its verdicts on the event loop of a Ray actor."""

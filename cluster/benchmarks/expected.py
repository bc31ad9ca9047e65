"""The goals themselves, as the project's requirements and its targets state them."""

from __future__ import annotations

from lightning_state.cluster.benchmarks.goals import Goal, Level, Of, Relation

_US = 1e-3
_MILLION = "1,000,000 keys"
_THOUSAND = "1,000 keys"

WAYS = ("channel", "actor handle", "http")
"""How the service is reached: every floor holds over each."""

NOT_HERE = {
    "etcd": "no wheel carries an etcd server",
    "langgraph PostgresStore": "not a peer of this benchmark",
    "agent lightning store server": "not a peer of this benchmark",
    "http/invalidate": "HTTP has no route for it: replicas are told of changes",
    "service/up": "not in a quick run without --up",
    "http/up": "not in a quick run without --up",
    _MILLION: "not in a quick run without --keys 1000000",
}
"""Why a figure that the goals name may be missing: a peer that this benchmark does not start, or a part left out."""


def _ratio(
    claim: str, relation: Relation, ours: str, peer: str, levels: dict[Level, float], *, at_most: bool = False
) -> Goal:
    return Goal(claim, relation, Of(ours), Of(peer), "x", levels, at_most=at_most)


RATIOS = (
    _ratio("cached read / Redis GET", "times faster", "channel/get cached", "redis/get", {"first": 15, "goal": 30}),
    _ratio("linearizable read / Redis GET", "times faster", "channel/get", "redis/get", {"goal": 1.5}),
    _ratio(
        "linearizable read / Redis GET by Unix socket", "times faster", "channel/get", "redis/get by Unix socket", {}
    ),
    _ratio(
        "linearizable read / plain actor", "times faster", "channel/get", "plain actor/get", {"first": 8, "goal": 12}
    ),
    _ratio("write / Redis WATCH, MULTI", "times faster", "channel/set", "redis/set", {"goal": 1.4, "stretch": 1.7}),
    _ratio("write / PostgreSQL UPDATE", "times faster", "channel/set", "postgres/set", {"goal": 0.9, "stretch": 1.0}),
    _ratio("write / LangGraph put", "times faster", "channel/set", "langgraph PostgresStore/set", {"goal": 1.2}),
    _ratio("write / etcd put", "times faster", "channel/set", "etcd/set", {"goal": 2.3}),
    _ratio(
        "64 writes in flight / plain actor",
        "times as many",
        "channel/writes in flight: per second",
        "plain actor/writes in flight: per second",
        {"first": 6, "goal": 14},
    ),
    _ratio(
        "64 writes in flight / etcd",
        "times as many",
        "channel/writes in flight: per second",
        "etcd/writes in flight: per second",
        {"goal": 5},
    ),
    _ratio(
        "64 writes in flight / Redis script",
        "times as many",
        "channel/writes in flight: per second",
        "redis/writes in flight: per second",
        {"goal": 1.0},
    ),
    _ratio("get_many(100) / 100 gets", "times faster", "channel/get_many 100", "channel/100 gets", {"goal": 20}),
    _ratio("set_many(100) / 100 sets", "times faster", "channel/set_many 100", "channel/100 sets", {"goal": 20}),
    _ratio("set_many(100) / Redis pipeline", "times faster", "channel/set_many 100", "redis/set_many 100", {}),
    _ratio(
        "HTTP get, 32 connections / constant route",
        "times as many",
        "http/32 connections get: per second",
        "constant route/32 connections get: per second",
        {"goal": 0.85},
    ),
    _ratio(
        "HTTP write / Agent Lightning's server",
        "times faster",
        "http/set",
        "agent lightning store server/set",
        {"goal": 3},
    ),
    _ratio(
        "read, 1,000,000 keys / 1,000 keys",
        "times the cost",
        f"{_MILLION}/get",
        f"{_THOUSAND}/get",
        {"goal": 1.2},
        at_most=True,
    ),
    _ratio(
        "write, 1,000,000 keys / 1,000 keys",
        "times the cost",
        f"{_MILLION}/set",
        f"{_THOUSAND}/set",
        {"goal": 1.2},
        at_most=True,
    ),
    _ratio(
        "64 writes in flight, 1,000,000 keys / 1,000 keys",
        "times faster",
        f"{_MILLION}/writes in flight: per second",
        f"{_THOUSAND}/writes in flight: per second",
        {"goal": 1.5},
        at_most=True,
    ),
    Goal(
        "shard memory of a hot 600-byte state",
        "absolute",
        Of("service/memory of a state"),
        None,
        "B",
        {"first": 2_000, "goal": 1_600},
        at_most=True,
    ),
    Goal(
        "the same, tracked for a client that caches it",
        "absolute",
        Of("service/memory of a tracked state"),
        None,
        "B",
        {},
    ),
    Goal(
        "shard killed (-9) to first write, p50",
        "absolute",
        Of("service/first write after kill"),
        None,
        "ms",
        {"goal": 1_200},
        at_most=True,
        scale=_US,
    ),
    Goal(
        "shard killed (-9) to first write, p99",
        "absolute",
        Of("service/first write after kill", "p99"),
        None,
        "ms",
        {"goal": 4_000},
        at_most=True,
        scale=_US,
    ),
    Goal(
        "up: state ready − bare ray.init",
        "difference",
        Of("service/up"),
        Of("bare ray/up"),
        "s",
        {"goal": 5},
        at_most=True,
    ),
    Goal(
        "up: HTTP ready − a constant Serve route",
        "difference",
        Of("http/up"),
        Of("constant route/up"),
        "s",
        {"goal": 3},
        at_most=True,
    ),
)
"""Beside peers; those without a level are for information."""

_FLOORS_MS = {"get cached": 5, "get": 100, "set": 150, "get_many 10": 200, "invalidate": 50}


def _floors(way: str) -> list[Goal]:
    """R14's, over one way."""
    slow = [
        Goal(f"{operation}, p95", "absolute", Of(f"{way}/{operation}", "p95"), None, "ms", {"floor": most}, True, _US)
        for operation, most in _FLOORS_MS.items()
    ]
    return [
        *slow,
        Goal("one by one", "absolute", Of(f"{way}/typical: per second"), None, "1/s", {"floor": 1_000}),
        Goal("concurrent", "absolute", Of(f"{way}/typical in flight: per second"), None, "1/s", {"floor": 500}),
        _ratio("get_many(10) / 10 gets", "times faster", f"{way}/get_many 10", f"{way}/10 gets", {"floor": 3}),
    ]


FLOORS = {
    **{way: _floors(way) for way in WAYS},
    "service": [
        Goal("hit rate, typical load", "absolute", Of("channel/typical: hit rate"), None, "share", {"floor": 0.75}),
        Goal("memory of the shard", "absolute", Of("service/memory"), None, "B", {"floor": 500e6}, at_most=True),
    ],
}
"""R14, by the way to the service; a hit rate and memory it has once."""

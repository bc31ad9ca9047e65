"""Average and quantiles of many values, each within 1 % of the true one."""

from __future__ import annotations

import msgspec
from ddsketch import DDSketch

ACCURACY = 0.01
"""The largest relative error of a quantile."""


class Quantiles(msgspec.Struct, frozen=True):
    """All 0 when there were no values. The average is exact."""

    count: int = 0
    average: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0


def quantiles_of(*sketches: DDSketch) -> Quantiles:
    """Of the values of all these sketches together; they stay as they are."""
    merged = DDSketch(ACCURACY)
    for sketch in sketches:
        merged.merge(sketch)
    if not merged.count:
        return Quantiles()
    p50, p95, p99 = (merged.get_quantile_value(quantile) or 0.0 for quantile in (0.50, 0.95, 0.99))
    return Quantiles(int(merged.count), merged.avg, p50, p95, p99)

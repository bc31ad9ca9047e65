"""What the confidence of a verdict means."""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum

from lightning_state.actors.core.verl.messages import Issue, Severity


def confidence_of(issues: Iterable[Issue]) -> float:
    """1.0 without findings, less the weight of each warning (never below 0.0), and 0.0 with any error.

    Adding a finding never raises it. Weights below 0 count as 0.
    """
    found = list(issues)
    if not found:
        return 1.0
    if any(issue.severity is Severity.ERROR for issue in found):
        return 0.0
    # Rounded so that ten warnings of 0.02 meet a threshold of 0.8 as they do on paper.
    return round(max(0.0, 1.0 - fsum(max(0.0, issue.weight) for issue in found)), 9)

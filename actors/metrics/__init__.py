"""What is measured: latencies by operation and outcome, hits by cache level, and the alerts that follow from them."""

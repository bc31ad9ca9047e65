"""`python -m lightning_state.cluster.cli` is the same as `lightning-state`."""

from lightning_state.cluster.cli.app import main

raise SystemExit(main())

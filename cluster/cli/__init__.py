"""The command line, `lightning-state`: one file a group of commands, loaded when it is asked for."""

from lightning_state.cluster.cli.app import main

__all__ = ["main"]

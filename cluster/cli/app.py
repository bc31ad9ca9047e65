"""The command itself: which commands there are, and what an error looks like to a person.

Exit status: 0 done · 1 an error, said on stderr with what to do · 2 wrong arguments · 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from lightning_state.actors.errors import LightningStateError

FAILED = 1
WRONG_ARGUMENTS = 2
INTERRUPTED = 130

app = App(
    name="lightning-state",
    help="Durable, versioned, validated state for agent applications on Ray.",
    version=lambda: version("lightning-state"),
    suppress_keyboard_interrupt=False,  # main answers it
)

# By import path: a command's module, and with it Ray, is imported only when that command is asked for.
for _name, _function, _help in (
    ("up", "service_commands:up", "Start a service and keep it running until Ctrl-C."),
    ("down", "service_commands:down", "Stop a running service; its data stays."),
    ("status", "service_commands:status", "Show a running service: shards, epochs, keys, validators, memory."),
    ("get", "state_commands:get", "Print one state as JSON."),
    ("set", "state_commands:set_", "Write one state from JSON and print what was stored."),
    ("list", "state_commands:list_", "List states in key order."),
    ("verify", "state_commands:verify", "Ask VERL about a state without writing it."),
    ("bench", "bench:bench", "Measure the service beside what one would use instead, on this machine."),
    ("research", "research:research", "Answer a question from documents, with the source of every fact."),
):
    app.command(f"lightning_state.cluster.cli.{_function}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status; errors are told on stderr."""
    try:
        result = app(
            sys.argv[1:] if arguments is None else arguments,
            exit_on_error=False,
            result_action="return_value",
        )
    except CycloptsError:
        return WRONG_ARGUMENTS  # cyclopts has said what is wrong
    except LightningStateError as error:
        say_error(error)
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def say_error(error: LightningStateError) -> None:
    """One line on stderr: the stable code and the message, which says what to do."""
    sys.stderr.write(f"lightning-state: {error} [{error.code}]\n")

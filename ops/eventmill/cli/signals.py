"""What signals mean to commands that have started something: they end it, and then themselves."""

import signal


def interrupt_on_termination() -> None:
    """Let SIGTERM and a closed terminal end this process as Ctrl-C does: in order, with everything it has started."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt

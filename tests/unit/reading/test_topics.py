"""Following a topic where no broker is: said once, and ended by Ctrl-C at any moment."""

import signal
import subprocess
import sys

FOLLOW = """
import sys
from eventmill.reading.topics import TopicReader
from eventmill_schemas.pipeline import Kafka

reader = TopicReader(Kafka("127.0.0.1:1", ""), ["t"], lambda text: print(text, flush=True))
try:
    next(reader.follow({("t", 0): 0}))
except KeyboardInterrupt:
    sys.exit(7)
"""


def test_an_absent_broker_is_told_once_and_ctrl_c_ends_the_wait() -> None:
    """The Kafka client calls back all the time: an interrupt there must not become another error."""
    processes = [
        subprocess.Popen([sys.executable, "-c", FOLLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "no Kafka broker answers; waiting\n"
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=30)
        assert (process.returncode, rest, told) == (7, "", "")

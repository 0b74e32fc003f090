"""Work that must not be noticed by those who are served meanwhile."""

import os
import threading

NICE = 10


def behind_others() -> None:
    """Put the calling thread, and whatever it starts, behind all others for the processor.

    Only on Linux, where a thread has a priority of its own; elsewhere it would be the whole process.
    """
    if os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)

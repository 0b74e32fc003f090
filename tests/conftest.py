"""Shared by all tests."""

import signal

# A shell without job control has what it runs in the background ignore Ctrl-C, and whatever the tests start
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

"""A process that puts events in an outbox and delivers, to be killed: FOLDER FIRST COUNT.

Prints the id of each event once it is stored. Settings come from the environment.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from guarded_rollout.config.gates import ChannelName, Notifications
from guarded_rollout.notify import settings
from guarded_rollout.notify.dispatch import Patience
from guarded_rollout.notify.events import Kind, event
from guarded_rollout.notify.fallback import Fallback
from guarded_rollout.notify.notifier import Notifier
from guarded_rollout.notify.outbox import Outbox

folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
notifier = Notifier(
    Outbox.open(folder / "notifications.db"),
    Fallback(folder),
    settings.load(folder, os.environ),
    Notifications(channels=(ChannelName.SLACK, ChannelName.TEAMS)),
    patience=Patience(poll=0.05, first_try=60, retries=60, first_backoff=0.05, longest_backoff=0.2),
)
with notifier, open(os.dup(1), "w", buffering=1) as stored:
    sys.stdout = sys.stderr
    for number in range(first, first + count):
        happened = event(Kind.MESSAGE, "production", datetime.now(UTC), message=f"number {number}")
        notifier.publish(happened)
        print(happened.id, file=stored)

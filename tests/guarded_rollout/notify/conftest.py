"""Notifiers over temporary folders, with settings of their own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from guarded_rollout.clock import Clock
from guarded_rollout.config.gates import ChannelName, Escalation, EscalationLevel, Notifications
from guarded_rollout.notify import settings
from guarded_rollout.notify.dispatch import Patience
from guarded_rollout.notify.fallback import Fallback
from guarded_rollout.notify.notifier import Notifier
from guarded_rollout.notify.outbox import Outbox

QUICK = Patience(poll=0.05, retries=0.3, first_try=3.0, first_backoff=0.02, longest_backoff=0.1)

PRODUCTION = Notifications(
    channels=(ChannelName.SLACK, ChannelName.EMAIL),
    escalation=Escalation(
        escalation_levels=(
            EscalationLevel(
                delay_minutes=5, channels=(ChannelName.SLACK,), recipients=("@ops", "@media-eng")
            ),
            EscalationLevel(
                delay_minutes=15,
                channels=(ChannelName.SLACK, ChannelName.PAGER),
                recipients=("@ops", "@media-eng", "@on-call"),
            ),
        )
    ),
)


@pytest.fixture
def notifier(tmp_path: Path) -> Callable[..., Notifier]:
    """Makes a notifier; each call opens the same outbox again, as the next process would."""

    def make(
        environ: Mapping[str, str],
        plan: Notifications | None = None,
        *,
        clock: Clock | None = None,
        patience: Patience = QUICK,
        **changes: Any,
    ) -> Notifier:
        chosen = plan or Notifications(channels=(ChannelName.SLACK,))
        return Notifier(
            Outbox.open(tmp_path / "notifications.db"),
            Fallback(tmp_path / "monitor_logs"),
            settings.load_what_can_be(tmp_path, environ),
            chosen.model_copy(update=changes),
            clock=clock,
            patience=patience,
        )

    return make

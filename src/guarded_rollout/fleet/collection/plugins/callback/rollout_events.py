"""What happens in a play, as a JSON object a line on standard output: for `rollout fleet`."""

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: rollout_events
type: stdout
short_description: JSON lines for `rollout fleet`
description: One JSON object a line for each task, result and play.
"""
WORDS = 2000
"""As much of an error as is passed on."""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Tells results by host; a task that reports (`set_fact: fleet`) brings what it says along."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "rollout_events"

    def __init__(self) -> None:
        super().__init__()
        os.register_at_fork(after_in_child=_die_with_play)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._tell("play", name=play.get_name())

    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._tell("problem", words="the inventory has no host for it")

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._tell("task", host=host.get_name(), name=task.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        facts = result._result.get("ansible_facts", {})
        if "fleet" in facts:
            self._tell("report", **facts["fleet"])

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._tell(
                "failed",
                host=result._host.get_name(),
                name=result._task.get_name(),
                words=_words(result._result),
            )

    def v2_runner_on_unreachable(self, result: Any) -> None:
        ignored = bool(result._task.ignore_unreachable)
        self._tell(
            "unreachable",
            host=result._host.get_name(),
            ignored=ignored,
            words=str(result._result.get("msg", ""))[:WORDS],
        )

    def _tell(self, event: str, **values: object) -> None:
        print(json.dumps({"event": event, **values}, default=str), flush=True)


def _die_with_play() -> None:
    """Have the kernel end a worker with its play, however that dies (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _words(result: dict[str, Any]) -> str:
    """The error: what `rollout … --json` says of it, what the command said last, or what Ansible says."""
    with suppress(ValueError, KeyError, IndexError, TypeError):
        return str(json.loads(str(result["stdout"]).splitlines()[-1])["message"])
    said = str(result.get("stderr") or result.get("module_stderr") or "").strip()
    command = result.get("cmd")
    ran = f" ({command if isinstance(command, str) else ' '.join(command)})" if command else ""
    return (said or f"{result.get('msg', '')}{ran}")[-WORDS:]

"""The steps of a rollout: each can do, undo and describe itself."""

from guarded_rollout.steps.backup import Backup
from guarded_rollout.steps.base import Options, Step, Work
from guarded_rollout.steps.finish import Finish
from guarded_rollout.steps.migrate import Migrate
from guarded_rollout.steps.preflight import Preflight
from guarded_rollout.steps.shift import Shift
from guarded_rollout.steps.stage import Stage
from guarded_rollout.steps.verify import Verify
from guarded_rollout.steps.watch import Watch

__all__ = ["STEPS", "Options", "Step", "Work"]

STEPS: dict[str, Step] = {
    step.name: step
    for step in (Preflight(), Backup(), Migrate(), Stage(), Verify(), Shift(), Watch(), Finish())
}

"""The steps of a rollout: each can do, undo and describe itself."""

from guarded_rollout.steps.backup import Backup
from guarded_rollout.steps.base import Options, Step, Work
from guarded_rollout.steps.configuration import RestoreConfiguration
from guarded_rollout.steps.data import RestoreData
from guarded_rollout.steps.finish import Finish
from guarded_rollout.steps.halt import Halt
from guarded_rollout.steps.migrate import Migrate
from guarded_rollout.steps.preflight import Preflight
from guarded_rollout.steps.quarantine import Quarantine
from guarded_rollout.steps.retire import Retire
from guarded_rollout.steps.safety import Safety
from guarded_rollout.steps.schema import Schema
from guarded_rollout.steps.shift import Shift
from guarded_rollout.steps.stage import Stage
from guarded_rollout.steps.validate import Validate
from guarded_rollout.steps.verify import Verify
from guarded_rollout.steps.watch import Watch

__all__ = ["STEPS", "Options", "Step", "Work"]

ROLLOUT: tuple[Step, ...] = (
    Preflight(),
    Backup(),
    Migrate(),
    Stage(),
    Verify(),
    Shift(),
    Watch(),
    Finish(),
)
ROLLBACK: tuple[Step, ...] = (
    Safety(),
    Halt(),
    RestoreConfiguration(),
    Schema(),
    RestoreData(),
    Retire(),
    Quarantine(),
    Validate(),
)
STEPS: dict[str, Step] = {step.name: step for step in (*ROLLOUT, *ROLLBACK)}

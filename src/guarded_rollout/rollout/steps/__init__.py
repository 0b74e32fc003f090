"""The steps of a rollout: each can do, undo and describe itself."""

from guarded_rollout.rollout.steps.backup import Backup
from guarded_rollout.rollout.steps.base import Options, Step, Work
from guarded_rollout.rollout.steps.finish import Finish
from guarded_rollout.rollout.steps.migrate import Migrate
from guarded_rollout.rollout.steps.preflight import Preflight
from guarded_rollout.rollout.steps.quarantine import Quarantine
from guarded_rollout.rollout.steps.restore_config import RestoreConfiguration
from guarded_rollout.rollout.steps.restore_data import RestoreData
from guarded_rollout.rollout.steps.restore_schema import Schema
from guarded_rollout.rollout.steps.safety_backup import Safety
from guarded_rollout.rollout.steps.shift import Shift
from guarded_rollout.rollout.steps.stage import Stage
from guarded_rollout.rollout.steps.stop_all import Halt
from guarded_rollout.rollout.steps.stop_outgoing import Retire
from guarded_rollout.rollout.steps.validate import Validate
from guarded_rollout.rollout.steps.verify import Verify
from guarded_rollout.rollout.steps.watch import Watch

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

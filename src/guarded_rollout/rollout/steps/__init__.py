"""The steps of a rollout and of a rollback, by the names that the journal has for them."""

from guarded_rollout.rollout.steps.backup import TakeBackup
from guarded_rollout.rollout.steps.base import Options, RolloutStep, Work
from guarded_rollout.rollout.steps.finish import Finish
from guarded_rollout.rollout.steps.migrate import Migrate
from guarded_rollout.rollout.steps.preflight import Preflight
from guarded_rollout.rollout.steps.quarantine import Quarantine
from guarded_rollout.rollout.steps.restore_config import RestoreConfiguration
from guarded_rollout.rollout.steps.restore_data import RestoreData
from guarded_rollout.rollout.steps.restore_schema import RestoreSchema
from guarded_rollout.rollout.steps.safety_backup import SafetyBackup
from guarded_rollout.rollout.steps.shift import Shift
from guarded_rollout.rollout.steps.stage import StageRelease
from guarded_rollout.rollout.steps.stop_all import StopAll
from guarded_rollout.rollout.steps.stop_outgoing import StopOutgoing
from guarded_rollout.rollout.steps.validate import Validate
from guarded_rollout.rollout.steps.verify import Verify
from guarded_rollout.rollout.steps.watch import Watch

__all__ = ["STEPS", "Options", "Step", "Work"]

ROLLOUT: tuple[RolloutStep, ...] = (
    Preflight(),
    TakeBackup(),
    Migrate(),
    StageRelease(),
    Verify(),
    Shift(),
    Watch(),
    Finish(),
)
ROLLBACK: tuple[RolloutStep, ...] = (
    SafetyBackup(),
    StopAll(),
    RestoreConfiguration(),
    RestoreSchema(),
    RestoreData(),
    StopOutgoing(),
    Quarantine(),
    Validate(),
)
STEPS: dict[str, RolloutStep] = {step.name: step for step in (*ROLLOUT, *ROLLBACK)}

"""Every error an operator can meet. A class owns its sentence, its advice and its exit code.

`PortTakenError(port=3000)` fills both from its data, which `--json` prints as well.
"""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from typing import ClassVar


class RolloutError(Exception):
    """The base of what an operator sees as a clear error rather than a traceback."""

    message: ClassVar[str] = "{detail}"  # a `str.format` template over `data`
    advice: ClassVar[str] = "See `rollout history` for what was done before it."
    exit_code: ClassVar[int] = 1

    def __init__(self, **data: object) -> None:
        self.data: Mapping[str, object] = data
        # a cause that is a sentence itself brings its full stop along
        self.sentence = re.sub(r"(?<![./])\.\.(?=\s|$)", ".", self.message.format_map(data))
        self.hint = self.advice.format_map(data)
        super().__init__(self.sentence)

    def __str__(self) -> str:
        return f"{self.sentence} {self.hint}".strip()

    @classmethod
    def code(cls) -> str:
        """Return the stable name for programs: `PortTakenError` is `port-taken`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__.removesuffix("Error")).lower()

    def as_json(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        data = {
            name: value if isinstance(value, int | float) else str(value) for name, value in self.data.items()
        }
        return {"error": self.code(), "message": self.sentence, "advice": self.hint, "data": data}


def all_errors(base: type[RolloutError] = RolloutError) -> Iterator[type[RolloutError]]:
    """Yield the base and every error below it."""
    yield base
    for child in base.__subclasses__():
        yield from all_errors(child)


# ---- what was installed


class NotInstalledError(RolloutError):
    message = "`rollout` needs {module}, which is not installed beside it."
    advice = "Install this distribution with its extra `rollout`."


# ---- what was asked


class UsageError(RolloutError):
    advice = "See `rollout --help`."


class CancelledError(RolloutError):
    message = "Cancelled: {what} was not confirmed; nothing was changed."
    advice = "Answer the question, or pass --force."


class ConfigurationError(RolloutError):
    message = "{path}: {where}: {problem}."
    advice = "src/guarded_rollout/config/rollout.example.toml documents every key."


class NoProjectError(RolloutError):
    message = "There is no {wanted}."
    advice = "Go to your project's folder, or begin one there: `rollout init`."


class ProjectExistsError(RolloutError):
    message = "{path} is there already."
    advice = "Edit it, or move it away first. `rollout init --keys` prints every key with its meaning."


class UnknownEnvironmentError(RolloutError):
    message = "There is no environment {name!r}; {path} has {known}."
    advice = "Name one of these with --env, or add it there."


# ---- the machine


class MissingProgramError(RolloutError):
    message = "The program {name!r} is not installed."
    advice = "Run `make install`, then use .venv/bin/rollout."


class SocketPathTooLongError(RolloutError):
    message = "The socket path {path} has {length} bytes; a unix socket's path has at most {limit}."
    advice = "Set a shorter `root` for the environment in rollout.toml."


class PortTakenError(RolloutError):
    message = "Port {port} is taken by another program."
    advice = "Stop that program, or set another `port` in rollout.toml."


class PortForbiddenError(RolloutError):
    message = "This user may not open port {port}."
    advice = (
        "`rollout install systemd` gives that right to the service's unit, `sysctl "
        "net.ipv4.ip_unprivileged_port_start={port}` to everybody; or set another `port` in rollout.toml."
    )


class CertificateError(RolloutError):
    message = "The certificate {path} cannot be used: {problem}."
    advice = (
        "Give this user the right files under `certificate` in rollout.toml: the whole chain, its key, "
        "and in `root` the CA's own certificate where this machine does not know that CA."
    )


class DiskFullError(RolloutError):
    message = "{path} has {free_mb} MB free; {needed_mb} MB are needed."
    advice = "Free some space (`rollout prune` removes old backups and releases)."


class NotWritableError(RolloutError):
    message = "{path} is not writable: {reason}."
    advice = "Give this user write access to it, or set another `root` in rollout.toml."
    advice_by_reason: ClassVar[Mapping[str, str]] = {
        os.strerror(errno.ENOSPC): "Free some space: `rollout prune` removes old backups and releases.",
        os.strerror(errno.EDQUOT): "Free some space, or have this user's quota raised.",
        os.strerror(errno.EROFS): "It is mounted read-only: see `dmesg` for why, and mount it for writing.",
        os.strerror(errno.ENOTDIR): "A file stands where a folder is needed: move it aside.",
        os.strerror(errno.EEXIST): "A file stands where a folder is needed: move it aside.",
    }
    """The advice where access is not what is missing."""

    def __init__(self, **data: object) -> None:
        super().__init__(**data)
        self.hint = self.advice_by_reason.get(str(data.get("reason")), self.hint)


class MachineRefusedError(RolloutError):
    """What a file or the system refused, where nobody could say more of it than the system does."""

    message = "{what}: {reason}."
    advice = "Give this user access to it, or move aside what stands there."

    @classmethod
    def of(cls, error: OSError) -> "MachineRefusedError":
        """Return what the system said as a sentence."""
        what = error.filename if error.filename is not None else type(error).__name__
        reason = error.strerror or str(error) or type(error).__name__
        refused = cls(what=what, reason=reason)
        refused.hint = NotWritableError.advice_by_reason.get(reason, refused.hint)
        return refused


class UnitTakenError(RolloutError):
    message = "{path} is a unit of another project."
    advice = "Look at it; --force replaces it."


class SystemdError(RolloutError):
    message = "`{command}` failed: {problem}."
    advice = "The units are written: run it by hand, where systemd runs."


# ---- releases


class BuildError(RolloutError):
    message = "Building a release from {source} failed: {problem}."
    advice = "Nothing was changed; fix the source and run it again."


class WheelsError(RolloutError):
    message = "The wheels of {release} are not carried along: {problem}."
    advice = "The archive needs an index to come back then; see `wheels_limit_mb` in rollout.toml."


class UnsetVariableError(RolloutError):
    message = "The service's variable {variable} needs ${name}, which is not set."
    advice = "Set {name} in your environment, or in the file that `env_file` in rollout.toml names."


class ReadableSecretsError(RolloutError):
    message = "{path} holds secrets and can be read by other users."
    advice = "Run `chmod 600 {quoted}`."


class SecretsFileError(RolloutError):
    message = "{path} holds secrets and cannot be read: {reason}."
    advice = "Make it a UTF-8 text file that this user can read, and nobody else."


class UnknownReleaseError(RolloutError):
    message = "There is no release {id!r}; built are: {known}."
    advice = "Name one of these, or build it with `rollout deploy --from …`."


class ReleaseDamagedError(RolloutError):
    message = "Release {id} is damaged: {problem}."
    advice = (
        "Remove its folder and build it again with --from, or restore it with `rollout rollback --backup`."
    )


class NoReleaseError(RolloutError):
    message = "No release serves {environment} yet."
    advice = "Roll one out: `rollout up --env {environment}`."


class ServingUnknownError(RolloutError):
    message = "What serves {environment} cannot be told. {problem}"
    advice = (
        "It runs on. Put its RELEASE.json back, which every backup of it holds, or return to a sound release:"
        " `rollout rollback --env {environment}` with --to or --backup."
    )


# ---- processes


class SupervisorError(RolloutError):
    message = "The supervisor of {environment} failed: {problem}."
    advice = "See {log}."


class NoAnswerError(RolloutError):
    message = "{request} to {endpoint} failed: it {problem}."
    advice = "`rollout status` shows what runs."


class CommandError(RolloutError):
    message = "service.commands.{name}: `{command}` of release {release} failed: {reason}."
    advice = "Nothing further was done."


class NoSuchCommandError(RolloutError):
    message = (
        "Release {release} has no command for this: service.commands.{name} was left out of rollout.toml."
    )
    advice = "Write it there and deploy; `rollout preflight` lists what cannot be done without it."


class StoreFileError(RolloutError):
    message = "The store {path} cannot be used: {reason}."
    advice = "Nothing further was done."


class StoreProgramError(RolloutError):
    message = "{program} failed with the database {database}: {reason}."
    advice = "Nothing further was done. `programs` in [service.store] names the folder of other versions."


class NotHealthyError(RolloutError):
    message = "{endpoint} did not get healthy within {seconds:g} s; its last answer: {last}."
    advice = "Its log is in the environment's logs/ folder; `health` under [service] says what is asked."


class DoesNotStopError(RolloutError):
    message = "Release {release} did not stop within {seconds} s after SIGTERM: it would drop requests."
    advice = "Fix its shutdown, or raise drain_seconds if it has that much to finish."


class ChecksFailedError(RolloutError):
    message = "Release {release} failed the check {check}, as {judge} declares it: {reason}."
    advice = "Fix the release. Its log is in the environment's logs/ folder."


class OperatorCommandError(RolloutError):
    message = "The commands of release {release} do not work on a copy of the store: {reason}."
    advice = "A rollback would depend on them. Try its store_check, store_snapshot and store_merge on one."


class PreflightError(RolloutError):
    message = "Preflight failed: {problems}."
    advice = (
        'Nothing was changed; `rollout preflight` shows the list, --override "reason" goes on without it.'
    )


class MigrationRefusedError(RolloutError):
    message = "The migration was refused, nothing was changed: {problems}."
    advice = (
        "Expand first; contract in a later release, once no release needs the old shape. --allow-unknown runs"
        " what is merely not known to be safe, and the release that serves is then checked with it."
    )


class MigrationFailedError(RolloutError):
    message = (
        "Migration {revision} failed and left the schema at {current}: service.commands.{name}: {reason}."
    )
    advice = "Fix the revision and run it again; what was applied before it suits the old release too."


class MigrationBrokeStableError(RolloutError):
    message = (
        "With migration {revisions} the release that serves, {stable}, fails its checks: {cause}. {state}"
    )
    advice = "It does not only expand, whatever it says: see its triggers, constraints and defaults."


class SchemaMissingError(RolloutError):
    message = "Release {release} needs schema revision {needed}, which the store does not have."
    advice = "Run `rollout migrate` first, or `rollout up`, which does both."


class SchemaNotBroughtError(RolloutError):
    message = "Release {release} needs schema revision {needed}, but brings no migration to it."
    advice = "Build it again with the migration in it."


class WindowOpenError(RolloutError):
    message = (
        "{release} is being watched in {environment} for another {left}; it was rolled out by {operator}."
    )
    advice = "`rollout promote` accepts it, `rollout abort` takes it back, `--supersede` replaces it."


class SlotDrainsError(RolloutError):
    message = (
        "{release} still answers {in_flight} in the slot that is needed, and may do so for another {left}."
    )
    advice = "Run it again then; --supersede gives them drain_seconds, and cuts what has not ended."


class NothingOpenError(RolloutError):
    message = "No rollout is open in {environment}."
    advice = "`rollout status` shows what serves, `rollout history` what was done."


class NotWatchedError(RolloutError):
    message = "{release} is not being watched: its rollout was interrupted, or is being taken back."
    advice = "`rollout resume` continues it, `rollout abort` takes it back."


class StuckError(RolloutError):
    message = "The rollout of {target} in {environment} does not go on: {problem}."
    advice = "`rollout resume` continues it, `rollout abort` takes it back."


class NotOverError(RolloutError):
    message = "The rollout of {target} in {environment} has not ended within {seconds}; nothing was stopped."
    advice = "`rollout wait` waits on, `rollout status` shows how far it is."


class RolledBackError(RolloutError):
    message = "{cause} The rollout was taken back; {stable} serves as before."
    advice = "{next}"


class FirstDeploymentError(RolloutError):
    message = "{cause} It was the first deployment: there is no release to return to, and nothing runs."
    advice = "{next}"


class RollbackFailedError(RolloutError):
    message = "The rollback to {release} FAILED: {reason}."
    advice = "Run it again: rollout rollback --env {environment} --to {release} --force"


class StoreKeptError(RolloutError):
    message = "The live store stays as it was, for the backup cannot be merged by {release}: {reason}."
    advice = (
        "Nothing in the store was changed. Return to a release whose commands work with "
        "`rollout rollback --to RELEASE`, or choose `--data none` or `--data exact`."
    )


class MergeLosesError(RolloutError):
    message = (
        "The live store stays as it was: rehearsed on a copy, the merge by {release} left {after} of {before}"
        " rows in {table}."
    )
    advice = (
        "Nothing in the store was changed. Return to a release whose merge works with "
        "`rollout rollback --to RELEASE`, or choose `--data none`."
    )


class ExactUnsupportedError(RolloutError):
    message = (
        "--data exact works for a store in a file or of kind postgresql; this one is in a database server."
    )
    advice = "Merge instead (the default), or restore the server by its own tools and use --data none."


class MergeUnsupportedError(RolloutError):
    message = (
        "Release {release} cannot merge data: service.commands.store_merge was left out of rollout.toml."
    )
    advice = "Use --data exact, which loses what was written since the backup, or --data none."


class NoDataError(RolloutError):
    message = "{path} has no data to bring back."
    advice = "Return to its release alone, with --data none."


class NoPreviousError(RolloutError):
    message = "{environment} has no good release to return to.{bad}"
    advice = "Name one with --to, or a backup with --backup."


class ProcessError(RolloutError):
    message = "{name} does not run: {problem}."
    advice = "Its log is {log}."


class LockHeldError(RolloutError):
    message = "{environment} is being worked on by {owner}."
    advice = "Wait for it to end; `rollout status` shows what it does."


class OwnerDoesNotReactError(RolloutError):
    message = "{owner} was asked to take its rollout back and does not react."
    advice = (
        "End it with `kill -9 {pid}`, which is safe at any moment, then run "
        "`rollout abort --env {environment}` again."
    )


# ---- the fleet


class NoFleetEngineError(RolloutError):
    message = "Ansible is not installed."
    advice = "Install this distribution with its extra `fleet`, or ansible-core itself."


class InventoryError(RolloutError):
    message = "Ansible cannot use {path}: {reason}."
    advice = 'Name the inventory with --inventory; docs/scale.md has one under "Many hosts".'


class FleetBusyError(RolloutError):
    message = "The fleet {fleet} is being worked on by {owner}."
    advice = "Wait for it to end; `rollout fleet status` shows how far each host is."


class FleetOpenError(RolloutError):
    message = "The rollout of {target} over {fleet}, begun by {operator} at {since}, is still open."
    advice = "`rollout fleet resume` completes it, `rollout fleet abort` takes it back."


class FleetNotOpenError(RolloutError):
    message = "No rollout over {fleet} is open."
    advice = "`rollout fleet status` shows the hosts, `rollout fleet history` what was done."


class FleetNotReadyError(RolloutError):
    message = "Nothing was changed: {problem}."
    advice = "`rollout status` on that host says more; put it right, or leave it out of the inventory."


class FleetInstallError(RolloutError):
    message = "The guard could not be installed on every host: {reason}"
    advice = "Put it right and run it again: what is installed stays, and what serves is not touched."


class FleetTakenBackError(RolloutError):
    message = "{reason} The rollout was taken back on every host that it had touched."
    advice = "`rollout fleet history --verbose` has each host, `rollout history` on a host each step."
    exit_code = 2


class FleetMixedError(RolloutError):
    message = "The fleet is mixed: {hosts}. {reason}"
    advice = "`rollout fleet resume` completes the rollout, `rollout fleet abort` takes it back."
    exit_code = 3


# ---- journal


class JournalDamagedError(RolloutError):
    message = "The journal {path} cannot be read: {reason}."
    advice = "Move it aside (nothing else depends on its past) and see `rollout status` before you continue."


class RolloutOpenError(RolloutError):
    message = "{environment} has an open rollout: `{command}` to {target}."
    advice = "`rollout promote` accepts it, `rollout abort` takes it back, `--supersede` replaces it."


class RolloutEndedError(RolloutError):
    message = "Rollout {id} has ended; nothing can be added to it."


class UnknownRolloutError(RolloutError):
    message = "There is no rollout {id}."
    advice = "`rollout history` lists them."


# ---- gates


class GatesFileError(RolloutError):
    message = "{path}: {problems}."
    advice = "`rollout gates check FILE` explains a file; schemas/quality-gates.schema.json describes it."


class UnknownGatesEnvironmentError(RolloutError):
    message = "The gates file has no environment {name!r}; it has {known}."
    advice = "Name one of these with --env, or add it to the file."


class NotALogError(RolloutError):
    message = "{path} cannot be replayed: {reason}."
    advice = "Monitoring logs are monitor_logs/<service>_<environment>_<time>.log."


class WindowDiffersError(RolloutError):
    message = "{path} asks for a window of {asked}; {release} is watched for {opened}, as it was opened."
    advice = (
        "Give the file the same window_minutes to watch by its gates, leave --config out, or end the window "
        "by `rollout promote` or `rollout abort`."
    )
    exit_code = 3


class NothingToJudgeError(RolloutError):
    message = "No gate of {environment!r} can be judged here: {reason}."
    advice = "`rollout gates check FILE` shows what each gate listens to."
    exit_code = 3


class GateBreachedError(RolloutError):
    message = "Quality gate failed: {gate}: {reason}."
    advice = "The release is taken back; `rollout gates replay LOG` shows the verdicts."


# ---- backups


class RetentionRuleError(RolloutError):
    message = "The retention rule is wrong: {problem}."
    advice = "Say how many backups stay (--keep) or for how long (--hours)."


class BackupMissingError(RolloutError):
    message = "There is no file {path}."
    advice = "`ls backups/` shows what there is."


class BackupDamagedError(RolloutError):
    message = "{path} is damaged: {problem}."
    advice = "Do not restore it; take an older one, and find out what happened to the disk."


class ChecksumMissingError(BackupDamagedError):
    message = "{path} cannot be checked: {problem}."
    advice = "The backup may be whole: bring the .sha256 file along, or restore another one."


class SnapshotMissingError(RolloutError):
    message = "The snapshot command of release {release} ended well and wrote no file {path}."
    advice = "Fix `store_snapshot` in rollout.toml: it is given the file to write as its last argument."


class BackupFormatError(RolloutError):
    message = "{path} is not a backup that can be restored: {problem}."
    advice = "Take an archive that `rollout backup` wrote."


class SignatureError(RolloutError):
    message = "Signature verification failed for {path}: {problem}."
    advice = "Somebody may have changed the backup; compare it with a copy kept elsewhere."


class CopyError(RolloutError):
    message = "The copy target {target} failed: {reason}."
    advice = "`[backup.copies.{target}]` in rollout.toml says how it is reached; try `restic` by hand."


class NoImageError(RolloutError):
    message = "There is no Containerfile for a release that is built as {kind}: it is made for Python wheels."
    advice = "Write one for your language; `rollout export kubernetes` takes any image."


class PodCommandError(RolloutError):
    message = "commands.{name} means something on the guard's own machine alone: {holes}."
    advice = "Say what serves in a container, on port {port}: for example, --serve '{example}'."


class ClusterNameError(RolloutError):
    message = "{given!r} is no {what} that a cluster takes."
    advice = "{rule}."


class VariableError(RolloutError):
    message = "{given!r} is no NAME=VALUE."
    advice = "Say, for example, --set HOST=0.0.0.0."


class NoCopyTargetError(RolloutError):
    message = "No copies of {environment} are kept anywhere: rollout.toml names no target for it."
    advice = "Name a repository under `[backup.copies]`; docs/backups.md shows how."


class UnknownCopyError(RolloutError):
    message = "No copy target has a snapshot {snapshot} of {environment}."
    advice = "`rollout copies list --env {environment}` shows what there is."


class NoStreamError(RolloutError):
    message = (
        "The store of {environment} is not streamed anywhere: it is no SQLite file, or no target is named."
    )
    advice = "Name a `url` under `[backup.stream]` in rollout.toml; docs/backups.md says what PostgreSQL has."


class StreamError(RolloutError):
    message = "The store could not be brought back from its stream: {reason}."
    advice = "`[backup.stream]` in rollout.toml says where it is; `litestream ltx` lists what is there."


class FileThereError(RolloutError):
    message = "{path} exists, and nothing is written over it."
    advice = "Name a file that is not there yet."


class OtherEnvironmentError(RolloutError):
    message = "{path} is a backup of {found}, not of {environment}."
    advice = "Take one of this environment's, or pass --allow-other-env if that is meant."


# ---- notifications


class NotificationSettingsError(RolloutError):
    message = "{path}: {problem}."
    advice = ".env.notifications.example documents each setting; `rollout notify --test` tries them."


class NotificationTemplateError(RolloutError):
    message = "The notification template {path} is wrong: {problem}."
    advice = "Its placeholders are {known}."


class OutboxError(RolloutError):
    message = "The outbox {path} cannot be used: {reason}."
    advice = "Events go to the fallback file meanwhile; move a damaged outbox aside."


class FallbackFileError(RolloutError):
    message = "{path} cannot be {verb}: {reason}."
    advice = "Give this user access to it, or set another `logs` folder in rollout.toml."


# ---- before a merge


class ArtifactsError(RolloutError):
    message = "The pre-merge artifacts are not valid: {path}: {problem}."
    advice = "`rollout premerge` makes them again."


class ReviewsError(RolloutError):
    message = "{path} has no reviews that can be read: {problem}."
    advice = "Make it with `gh pr view --json reviews,headRefOid > FILE`."


class BaselineError(RolloutError):
    message = "The performance baseline {path} cannot be used: {problem}."
    advice = "Move it aside; the next monthly maintenance begins a new one."


# ---- the dashboard


class ActionRefusedError(RolloutError):
    message = "{detail}"
    advice = "Reload: the possible actions change as a rollout proceeds."


class AddressError(RolloutError):
    message = "The dashboard cannot listen on {host} port {port}: {reason}."
    advice = "Choose another with --port or --host."

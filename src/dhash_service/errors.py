"""Every error a caller can meet. A class owns its HTTP status, problem type, exit code and sentence.

The sentence says what is wrong; `advice` says what to do next.
"""

from typing import ClassVar

from dhash_service.facts import Outcome


class DhashError(Exception):
    """The base: anything that goes to a person as a clear error rather than a traceback."""

    type: ClassVar[str] = "internal"  # stable name; the problem's `type` is /problems/<type>
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    outcome: ClassVar[Outcome] = Outcome.FAILED
    advice: ClassVar[str] = "Try again; if it happens again, tell the operators with the time and request id."

    def __init__(self, detail: str, advice: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = advice or self.advice

    def __str__(self) -> str:
        return f"{self.detail} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:  # crosses process borders unharmed
        return type(self), (self.detail, self.hint)


def as_error(error: Exception) -> DhashError:
    """Turn whatever was raised while an item was worked on into an error of that item."""
    if isinstance(error, DhashError):
        return error
    try:
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:  # some cannot even say what they are
        said = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return UnreadableFileError(f"{error.strerror}.")
    return DecoderFailedError(f"{said}.")


class RejectedError(DhashError):
    """The caller's fault."""

    status = 422
    outcome = Outcome.REJECTED


# ---- pictures


class UnsupportedFormatError(RejectedError):
    type = "unsupported-format"
    title = "Not a supported picture"
    status = 415
    advice = "Send JPEG, PNG, WebP, GIF, BMP or TIFF (PDF to /api/dhash/extract)."


class DamagedPictureError(RejectedError):
    type = "damaged-picture"
    title = "The picture cannot be read"
    advice = "Open it in a viewer, save it again and send that."


class TooManyPixelsError(RejectedError):
    type = "too-many-pixels"
    title = "The picture has too many pixels"
    status = 413
    advice = "Scale it down, or raise DHASH_MAX_PIXELS."


class DecoderFailedError(DhashError):
    """A supported, valid file that our decoder could not read: our fault, but no server error."""

    type = "decoder-failed"
    title = "The decoder failed"
    status = 422
    advice = "The file is kept out of the store; send it to the operators if it opens elsewhere."


class RefusedByBankError(RejectedError):
    """The picture matches a bank that refuses its pictures; nothing was kept."""

    type = "refused-by-bank"
    title = "The picture is in a bank that refuses it"
    advice = "Ask the operators of the bank."


class TakenDownError(RejectedError):
    """An admin took the picture down, or erased it: nobody with less authority brings it back."""

    type = "taken-down"
    title = "The picture was taken down"
    status = 451
    advice = "Ask an admin of the service."


# ---- documents


class NotADocumentError(RejectedError):
    type = "not-a-document"
    title = "Not a PDF"
    status = 415
    advice = "Send a PDF, or a picture to /api/dhash."


class EncryptedDocumentError(RejectedError):
    type = "encrypted-document"
    title = "The PDF is encrypted"
    advice = "Save it without a password and send that."


class DamagedDocumentError(RejectedError):
    type = "damaged-document"
    title = "The PDF cannot be read"
    advice = "Open it in a viewer, save it again and send that."


class TooManyPagesError(RejectedError):
    type = "too-many-pages"
    title = "The PDF has too many pages"
    status = 413
    advice = "Split it, or raise DHASH_MAX_PAGES."


class TooManyPicturesError(RejectedError):
    type = "too-many-pictures"
    title = "The PDF holds too many pictures"
    status = 413
    advice = "Split it, or raise DHASH_MAX_PICTURES."


class DocumentTimeoutError(DhashError):
    type = "document-timeout"
    title = "Reading the file took too long"
    status = 422
    advice = "Split it, or raise DHASH_DOCUMENT_SECONDS."


class DocumentMemoryError(RejectedError):
    """Reading the file needs more memory than one may take: a bomb, or pictures beyond any measure."""

    type = "document-memory"
    title = "Reading the file takes too much memory"
    status = 413
    advice = "Split it, or raise DHASH_DOCUMENT_MEMORY_BYTES."


class DocumentWorkerDiedError(DhashError):
    """The worker process crashed; only this request is affected."""

    type = "document-worker-died"
    title = "Reading the file failed"
    status = 422
    advice = "Split it or save it again; the service itself is unharmed."


# ---- requests


class BadRequestError(RejectedError):
    type = "bad-request"
    title = "The request cannot be understood"
    status = 422
    advice = "See /docs for what this path takes."


class BodyTooLargeError(RejectedError):
    type = "body-too-large"
    title = "The body is too large"
    status = 413
    advice = "Send less, or raise DHASH_MAX_BODY_BYTES."


class BodyTimeoutError(RejectedError):
    type = "body-timeout"
    title = "The body did not arrive in time"
    status = 408
    advice = "Send it again over a faster connection, or raise DHASH_BODY_SECONDS."


class BatchTooLargeError(RejectedError):
    type = "batch-too-large"
    title = "The batch has too many items"
    status = 413
    advice = "Split it, or raise DHASH_MAX_BATCH."


class NotFoundError(RejectedError):
    type = "not-found"
    title = "Not found"
    status = 404
    advice = "Check the id; `GET /api/dhash/search` finds images by fingerprint."


class UnauthenticatedError(RejectedError):
    type = "unauthenticated"
    title = "Credentials are needed"
    status = 401
    advice = "Send `Authorization: Bearer TOKEN`; an operator makes one with `dhash token create`."


class ForbiddenError(RejectedError):
    type = "forbidden"
    title = "These credentials do not allow it"
    status = 403
    advice = "Ask an operator for a token with the role that is needed."


class ForgedRequestError(ForbiddenError):
    """A change that does not come from a page of this service, opened by whoever is signed in."""

    type = "forged-request"
    title = "The request does not come from this service's page"
    advice = "Load the page again and repeat it there."


class ConflictError(RejectedError):
    type = "conflict"
    title = "That contradicts what is there"
    status = 409
    advice = "Load it again, and decide again."


class RetryLaterError(DhashError):
    """Too much at once. Nothing was done; `retry_after` is in seconds."""

    retry_after: ClassVar[int] = 1
    outcome = Outcome.REJECTED


class TooManyRequestsError(RetryLaterError):
    type = "too-many-requests"
    title = "Too many requests from this caller"
    status = 429
    advice = "Send fewer at once."


class BusyError(RetryLaterError):
    type = "busy"
    title = "The service is busy"
    status = 503
    advice = "Nothing was done; send it again after Retry-After."


# ---- store and operation


class StoreError(DhashError):
    type = "store"
    title = "The store failed"
    status = 503
    advice = "Run `dhash db check`."


class StoreSchemaError(StoreError):
    type = "store-schema"
    title = "The store's schema does not fit this release"
    advice = "Run `dhash db plan`, then `dhash db upgrade`."


class StoreAlgorithmError(StoreError):
    type = "store-algorithm"
    title = "The store holds fingerprints of another algorithm"
    advice = "Set DHASH_ALGORITHM back, or start a new store."


class StoreDamagedError(StoreError):
    type = "store-damaged"
    title = "The database is damaged"
    advice = "Keep the file; restore a backup, or `dhash db merge --salvage` it into a new store."


class StoreLockedError(StoreError):
    type = "store-locked"
    title = "The database is locked"
    advice = (
        "Nothing was written. Find the process that holds it (a copy, a migration, an open shell) and end it."
    )


class StoreFullError(StoreError):
    type = "store-full"
    title = "There is no room left for the database"
    advice = "Nothing that was acknowledged is lost. Free space, then do it again."


class StoreUnreachableError(StoreError):
    type = "store-unreachable"
    title = "The database cannot be reached"
    advice = "Check DHASH_STORE, and that the server runs or the folder exists and can be written."


class StoreDemotedError(StoreUnreachableError):
    """A PostgreSQL server that takes no writes: a standby, or a primary that was made one."""

    type = "store-demoted"
    title = "The database takes no writes"
    advice = "Nothing was written. Name every host in DHASH_STORE, with target_session_attrs=read-write."


class StoreUnconfirmedError(StoreUnreachableError):
    """Committed on the primary alone, because somebody ended the wait for its standby."""

    type = "store-unconfirmed"
    title = "No standby has confirmed the write"
    advice = "Send it again. Leave sessions alone that wait for SyncRep in pg_stat_activity."


class StoreNotSynchronousError(StoreError):
    type = "store-not-synchronous"
    title = "What is acknowledged is on no standby"
    advice = "Set synchronous_standby_names on the server, or unset DHASH_REQUIRE_SYNCHRONOUS."


class MigrationError(StoreError):
    """A revision could not be applied or taken back; what went before it stands."""

    type = "migration"
    title = "A revision of the schema failed"
    advice = "The schema is as before that revision. Fix the revision, or the rows that it stumbles over."


class StoreLossError(StoreError):
    """Refused, because it would lose data that nobody said may be lost."""

    type = "store-loss"
    title = "That would lose data"
    advice = "Take `dhash db snapshot FILE` first, then say --accept-loss."


class SettingError(DhashError):
    type = "setting"
    title = "A setting is wrong"
    exit_code = 2
    advice = "See `dhash serve --help`."


class NotInstalledError(DhashError):
    """A part of the program that is installed by itself is missing."""

    type = "not-installed"
    title = "A part of the program is not installed"
    status = 501
    advice = "Install it, or ask without what needs it."


class PlaceError(DhashError):
    """A folder or object store that a command was given cannot be read or written."""

    type = "place"
    title = "The place cannot be used"
    status = 502
    advice = (
        "Check the URL, and the environment's credentials and endpoint: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL"
        " for s3://, AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY, … for az://,"
        " GOOGLE_SERVICE_ACCOUNT, … for gs://."
    )


class EngineError(DhashError):
    """The engine that does the tasks cannot be reached, or a whole task failed; what is done stays done."""

    type = "engine"
    title = "The engine failed"
    status = 502
    advice = "See the scheduler's and the workers' logs; start the command again, and it goes on."


class AddressInUseError(DhashError):
    type = "address-in-use"
    title = "The address cannot be listened on"
    advice = "Stop what listens there, or choose another: `dhash serve --port 3001`."


class GoldenMovedError(DhashError):
    type = "golden-moved"
    title = "Golden fingerprints moved"
    advice = "If that is meant, raise the algorithm's version and `dhash golden record --accept`."


class GoldenRecordError(DhashError):
    type = "golden-record"
    title = "The record of golden fingerprints does not fit"
    advice = "Run `dhash golden record --accept` if the values of now are right."


class ServiceAnswerError(DhashError):
    """A running service, asked from the command line, did not answer as the API says."""

    type = "service-answer"
    title = "The service did not answer as expected"
    status = 502
    advice = "Look at its /health and its log."


class UnwritableOutputError(DhashError):
    """What a command prints or writes finds no room."""

    type = "unwritable-output"
    title = "The output cannot be written"
    status = 507
    advice = "Make room, or write to another disk; then run the command again."


class UnreadableFileError(RejectedError):
    type = "unreadable-file"
    title = "The file cannot be read"
    advice = "Give the path of a picture, or - for standard input."


class UnwritableFolderError(RejectedError):
    type = "unwritable-folder"
    title = "The folder cannot be written to"
    advice = "Give a folder that is yours, on a disk with room; file systems without hard links will not do."

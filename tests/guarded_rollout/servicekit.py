"""The guarded service itself: pictures sent and found again, more schema revisions, the ways back."""

import hashlib
import re
from collections.abc import Callable

from dhash_service.checks.drawing import picture as draw
from guarded_rollout.rollout.engine import Request
from guarded_rollout.rollout.steps.base import Options
from tests.guarded_rollout.sandbox import Sandbox

SERVICE = "src/dhash_service"
MIGRATION = '''"""{summary}"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{below}"
branch_labels = None
depends_on = None
kind = "{kind}"


def upgrade() -> None:
{up}


def downgrade() -> None:
{down}
'''


def submit(dhash: Sandbox, seed: str) -> tuple[str, str]:
    """Send a picture; its SHA-256 and the fingerprint that was acknowledged."""
    picture = draw(seed)
    answer = dhash.site.public().ask(
        "POST", "/api/dhash", body=picture, headers={"Content-Type": "image/png"}
    )
    assert answer.status in (200, 201), answer.summary()
    told = answer.json()
    assert isinstance(told, dict)
    return hashlib.sha256(picture).hexdigest(), str(told["hash"])


def found(dhash: Sandbox, sent: tuple[str, str]) -> bool:
    """Whether a search by its fingerprint finds it."""
    told = dhash.site.public().ask("GET", f"/api/dhash/search?hash={sent[1]}&radius=0&limit=1000").json()
    assert isinstance(told, dict)
    return any(result["sha256"] == sent[0] for result in told["results"])


def roll_back(dhash: Sandbox, release, **options: object) -> None:
    request = Request(command="rollback", operator="test", why="to see", options=Options(**options))  # type: ignore[arg-type]
    with dhash.engine() as engine:
        engine.roll_back(release, request)


def promote(dhash: Sandbox) -> None:
    with dhash.engine() as engine:
        engine.promote()


def newest_revision(sandbox: Sandbox) -> str:
    folder = sandbox.source / SERVICE / "store" / "migrations" / "versions"
    return max(path.name[:4] for path in folder.glob("[0-9]*.py"))


def migration(
    kind: str, up: str, *, down: str = "    pass", brought: bool = True
) -> Callable[[Sandbox], None]:
    """One more revision, known to the release and (unless it forgets it) brought along."""

    def spoil(sandbox: Sandbox) -> None:
        below = newest_revision(sandbox)
        revision = f"{int(below) + 1:04d}"
        folder = sandbox.source / SERVICE / "store" / "migrations" / "versions"
        if brought:
            content = MIGRATION.format(
                summary="more", revision=revision, below=below, kind=kind, up=up, down=down
            )
            (folder / f"{revision}_more.py").write_text(content)
        one_more = rf'\1 + (("{revision}", Kind.{kind.upper()}),)'
        sandbox.edit(
            f"{SERVICE}/store/schema.py",
            lambda text: re.sub(r"^(KNOWN: .*)$", one_more, text, count=1, flags=re.MULTILINE),
        )

    return spoil

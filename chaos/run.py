"""One run as a story. `python -m chaos.run SEED FOLDER`, as the first process of namespaces of its own."""

import asyncio
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.dhash_service.store.standby import Pair, pair_of_servers

from chaos import inspection, model, template
from chaos.clients import Clients, Entry, read_ledger
from chaos.draw import draw
from chaos.eraser import Eraser
from chaos.faults import STRIKES, clock, disk, possible, power
from chaos.faults.base import Incident, Scene, carry_out
from chaos.inspection import Subject
from chaos.observer import Observer
from chaos.operating import Operator
from chaos.plan import Action, Plan, Story, Target, Variant
from chaos.receiver import Receiver, receiving
from chaos.report import Verdict
from chaos.stack import Stack, slowness, wait_until
from chaos.variants import Built, Shop, open_shop

CALM_SECONDS = 1.5
SAMPLE = 50


class Run:
    """Everything about one run."""

    def __init__(
        self, plan: Plan, folder: Path, shop: Shop, receiver: Receiver, store: str, servers: Pair | None
    ) -> None:
        self.plan, self.folder, self.shop, self.receiver = plan, folder, shop, receiver
        self.servers = servers
        self.verdict = Verdict(plan.seed, str(plan), sorted(plan.families))
        self.stack = Stack(folder, shop, store=store)
        (folder / "typed").mkdir()
        self.operator = Operator(self.stack, folder / "typed")
        self.observer = Observer(self.stack)
        self.ledger, self.erased = folder / "ledger.jsonl", folder / "erased.jsonl"
        self.eraser = Eraser(self.stack, self.ledger, self.erased)
        self.incidents: list[Incident] = []
        self.damaged: list[Path] = []
        self.known: set[str] = set()  # rollouts that had ended before the fire
        self.before: list[Entry] = []  # what was acknowledged before the run
        self.candidate = shop.variants[plan.variant]

    def play(self) -> Verdict:
        began = time.monotonic()
        try:
            self._set_up()
            if self._first_release():
                self._under_fire()
        finally:
            self.stack.end_everything()
            self._keep_evidence()
            self.verdict.seconds = time.monotonic() - began
        return self.verdict

    # ---- in peace

    def _set_up(self) -> None:
        """What some faults need to have been there from the beginning."""
        stack, plan = self.stack, self.plan
        if plan.has(Action.DISK_FULL):
            disk.mount_small(stack.root)
        if plan.has(Action.BACKUPS_READ_ONLY):
            disk.mount_small(stack.backups)
        if plan.has(Action.CLOCK):
            stack.preload(clock.variables(self.folder))
        if plan.has(Action.POWER):
            stack.preload(power.variables(self.folder, stack.project))
        stack.places = frozenset(
            fault.target for fault in plan.faults if fault.action in (Action.VANISH, Action.REFUSE)
        )
        if any(fault.target is Target.REPLICA for fault in plan.faults):
            stack.servers = 2
        stack.configure(self.receiver.url, stack.variables)

    def _first_release(self) -> bool:
        """A release that serves, with some pictures: rolled out once for each store."""
        template.lay(self.stack, self.shop, self.plan.store)
        self.receiver.accepted += template.told(self.stack)
        self.before = template.acknowledged(self.shop, self.plan.store)
        first = self.operator.type("start")
        if first.code != 0:
            self.verdict.violations.append(f"in peace: {first}: {first.output.strip()}")
        return first.code == 0

    def _prepared(self) -> list[str]:
        """What the operator will type under fire; in peace, what must have gone before."""
        candidate = ["up", "--from", str(self.candidate.wheel)]
        if any(fault.target is Target.OVER_HTTP for fault in self.plan.faults):
            self.eraser.sign_in()
        if self.plan.has(Action.DAMAGE) or self.plan.story is Story.ROLL_BACK:
            self.operator.type("backup")
        if self.plan.story is Story.ROLL_OUT:
            return candidate
        self.operator.type(*candidate)
        self.operator.type("promote")
        (backup, *_) = sorted(self.stack.backups.glob("dhash_*.zip"))
        return ["rollback", "--backup", str(backup.relative_to(self.stack.project)), "--force"]

    # ---- under fire

    def _under_fire(self) -> None:
        ledger = self.ledger
        with Clients(self.stack.port, self.plan.seed, ledger, self.erased), self.observer:
            wait_until(lambda: ledger.exists() and ledger.stat().st_size > 5000, 20)
            words = self._prepared()
            base = self.stack.last_sequence()
            self.known = {rollout.id for rollout in self.stack.rollouts()}
            self._command_and_faults(words, base)
            quiet = self.operator.settle()
            for way in {fault.target for fault in self.plan.faults if fault.action is Action.ERASE}:
                self.eraser.ask(way, self.eraser.wishes)  # what could not be done while all was down
            time.sleep(CALM_SECONDS)  # clients go on for a while: what is over must be over
        self._judge(list(read_ledger(ledger)), base, quiet)

    def _command_and_faults(self, words: list[str], base: int) -> None:
        over = threading.Event()
        began = time.monotonic()
        scene = Scene(
            self.stack,
            self.operator,
            self.receiver,
            over,
            tuple(words),
            base,
            began,
            self.eraser,
            self.servers,
            self.damaged,
        )
        faults = self.plan.faults
        with ThreadPoolExecutor(len(faults)) as pool:
            under_way = [pool.submit(carry_out, scene, fault, STRIKES[fault.action]) for fault in faults]
            self.operator.type(*words, piped=self.plan.has(Action.BROKEN_PIPE))
            # Faults may wait for the window to close: give what goes by itself the time to.
            wait_until(lambda: not self.operator.somebody_is_at_work(), 20 * self.stack.slow)
            over.set()
            self.incidents = [found for one in under_way if (found := one.result()) is not None]

    # ---- judging

    def _id_here(self, built: Built) -> str:
        """The release of a wheel in this project, whose variables are part of its id."""
        version, _, _ = built.release.partition("-wheel-")
        targets = (rollout.target or "" for rollout in self.stack.rollouts())
        return next((one for one in targets if one.startswith(f"{version}-wheel-")), built.release)

    def _judge(self, entries: list[Entry], base: int, quiet: bool) -> None:
        stack, verdict = self.stack, self.verdict
        first, candidate = self._id_here(self.shop.first), self._id_here(self.candidate)
        good = self.plan.variant.good
        subject = Subject(stack, self.operator, self.receiver, first, candidate, good)
        ended = [rollout for rollout in stack.rollouts() if rollout.outcome]
        new = [rollout for rollout in ended if rollout.id not in self.known]
        verdict.outcome = f"{new[-1].command} {new[-1].outcome}" if new else "nothing begun"
        verdict.reason = new[-1].reason if new else ""
        verdict.struck = [one.fault.family for one in self.incidents]
        verdict.struck += [] if good else [str(self.plan.variant)]
        self._judge_clients(entries, base)
        if not quiet:
            verdict.violations.append("it did not come to rest")
        looks = [
            inspection.serving(subject),
            inspection.journal(subject),
            inspection.writes(subject, [*self.before, *entries], self.eraser.wishes),
            inspection.places(
                subject,
                [*self.before, *entries],
                self.eraser.wishes,
                exchanged=self.plan.has(Action.VANISH),
            ),
            inspection.backups(stack, self.operator, self.damaged),
            inspection.refusals(subject, self.damaged),
        ]
        verdict.violations += [found for look in looks for found in look]
        with suppress(OSError, EOFError):
            verdict.violations += asyncio.run(inspection.read_back(stack.port, self._sample(entries)))
        verdict.violations += inspection.leftovers(
            subject, killed=self.plan.variant is Variant.IGNORES_SIGTERM
        )
        verdict.violations += self.eraser.hurt
        verdict.violations += inspection.events(subject)
        verdict.violations += inspection.commands(subject)
        verdict.notes = [f"{one.began:.2f} {one.fault}: {one.about}" for one in self.incidents]
        verdict.notes += [f"{typed.begun:.2f} {typed}" for typed in self.operator.typed]
        verdict.notes += [
            f"{at:.2f} {event.kind} {event.name} {event.data}" for at, event in self.observer.seen
        ]

    def _sample(self, entries: list[Entry]) -> list[Entry]:
        unwanted = {wish.picture.id for wish in self.eraser.wishes}
        acknowledged = [entry for entry in entries if entry.acknowledged and entry.id not in unwanted]
        return random.Random(self.plan.seed).sample(acknowledged, min(SAMPLE, len(acknowledged)))

    def _judge_clients(self, entries: list[Entry], base: int) -> None:
        verdict = self.verdict
        verdict.requests = len(entries)
        verdict.acknowledged = sum(entry.acknowledged for entry in entries)
        failed = [entry for entry in entries if entry.failed]
        verdict.failed = len(failed)
        begin = self.observer.first("intent", "stage")
        end = self.observer.last_of("end")
        history = model.History(
            helped=tuple((typed.begun, typed.ended) for typed in self.operator.typed),
            exposed=(begin, end or time.time()) if begin is not None else None,
            ended=time.time(),
            slow=slowness(),
            erased={wish.picture.number: wish.asked for wish in self.eraser.wishes},
        )
        excuses = model.excuses_of(self.plan, self.incidents, history)
        verdict.excused = sorted({one.why for one in excuses for entry in failed if one.covers(entry)})
        wrong = model.unexplained(entries, excuses)
        for entry in wrong[:5]:
            verdict.violations.append(
                f"a {entry.kind} failed and nothing explains it, {entry.begun:.2f} to {entry.ended:.2f}:"
                f" {entry.problem[:300]}"
            )
        if len(wrong) > 5:
            verdict.violations.append(f"{len(wrong)} requests failed without explanation in all")

    def _keep_evidence(self) -> None:
        """What stands on a file system that goes with its namespace."""
        for folder in (self.stack.root, self.stack.backups) if self.verdict.violations else ():
            if os.path.ismount(folder):
                files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
                for file in files:
                    target = self.folder / "kept" / file.relative_to(self.stack.project)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, target)


@contextmanager
def database(plan: Plan) -> Iterator[tuple[str, Pair | None]]:
    """The URL of a PostgreSQL database for this run, empty for SQLite; and the servers that may die."""
    if plan.has(Action.DATABASE):
        with pair_of_servers() as servers:
            servers.make_synchronous()
            yield servers.uri, servers
    else:
        with template.database(plan.store) as url:
            yield url, None


def main(seed: int, folder: Path, *, keep: bool) -> None:
    plan = draw(seed, possible=possible())
    shop = open_shop({plan.variant})
    template.prepare(shop, plan.store)
    with receiving() as receiver, database(plan) as (store, servers):
        verdict = Run(plan, folder, shop, receiver, store, servers).play()
    verdict.write(folder)
    if verdict.held and not keep:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), keep="--keep" in sys.argv)

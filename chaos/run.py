"""One run as a story. `python -m chaos.run SEED FOLDER`, as the first process of namespaces of its own."""

import asyncio
import os
import random
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from chaos import inspection, model
from chaos.clients import Clients, Entry, read_ledger
from chaos.draw import Plan, Story, draw
from chaos.faults import POSSIBLE, STRIKES
from chaos.faults.base import Incident, Scene, carry_out
from chaos.inspection import Subject
from chaos.operating import Operator
from chaos.receiver import Receiver, receiving
from chaos.report import Verdict
from chaos.stack import Stack, wait_until
from chaos.variants import Shop, open_shop

CALM_SECONDS = 1.5
SAMPLE = 50


class Run:
    """Everything about one run."""

    def __init__(self, plan: Plan, folder: Path, shop: Shop, receiver: Receiver) -> None:
        self.plan, self.folder, self.shop, self.receiver = plan, folder, shop, receiver
        self.verdict = Verdict(plan.seed, str(plan), sorted(plan.families))
        self.stack = Stack(folder, shop)
        transcripts = folder / "typed"
        transcripts.mkdir()
        self.operator = Operator(self.stack, transcripts)
        self.incidents: list[Incident] = []
        self.candidate = shop.variants[plan.variant]

    def play(self) -> Verdict:
        began = time.monotonic()
        try:
            self.stack.configure(self.receiver.url)
            if self._first_release():
                self._under_fire()
        finally:
            self._end_everything()
            self.verdict.seconds = time.monotonic() - began
        return self.verdict

    def _first_release(self) -> bool:
        up = self.operator.type("up", "--from", str(self.shop.first.wheel))
        if up.code != 0:
            self.verdict.violations.append(f"in peace: {up}: {up.output.strip()}")
        return up.code == 0

    def _under_fire(self) -> None:
        ledger = self.folder / "ledger.jsonl"
        with Clients(self.stack.port, self.plan.seed, ledger):
            wait_until(lambda: ledger.exists() and ledger.stat().st_size > 5000, 20)
            words = self._prepared()
            base = self.stack.last_sequence()
            self._command_and_faults(words, base)
            quiet = self.operator.settle()
            time.sleep(CALM_SECONDS)  # clients go on for a while: what is over must be over
        entries = list(read_ledger(ledger))
        self._judge(entries, base, quiet)

    def _prepared(self) -> list[str]:
        """What the operator will type under fire; in peace, what must have gone before."""
        candidate = ["up", "--from", str(self.candidate.wheel)]
        if self.plan.story is Story.ROLL_OUT:
            return candidate
        self.operator.type("backup")
        self.operator.type(*candidate)
        self.operator.type("promote")
        (backup, *_) = sorted(self.stack.backups.glob("dhash_*.zip"))
        return ["rollback", "--backup", str(backup.relative_to(self.stack.project)), "--force"]

    def _command_and_faults(self, words: list[str], base: int) -> None:
        over = threading.Event()
        scene = Scene(self.stack, self.operator, self.receiver, over, base, time.monotonic())
        faults = self.plan.faults
        with ThreadPoolExecutor(len(faults)) as pool:
            under_way = [pool.submit(carry_out, scene, fault, STRIKES[fault.action]) for fault in faults]
            self.operator.type(*words)
            # Faults may wait for the window to close: give what goes by itself the time to.
            wait_until(lambda: not self.operator.somebody_is_at_work(), 20)
            over.set()
            self.incidents = [found for one in under_way if (found := one.result()) is not None]

    # ---- judging

    def _judge(self, entries: list[Entry], base: int, quiet: bool) -> None:
        stack, verdict = self.stack, self.verdict
        subject = Subject(
            stack,
            self.operator,
            self.receiver,
            self.shop.first.release,
            self.candidate.release,
            self.plan.variant.good,
        )
        ended = [rollout for rollout in stack.rollouts() if rollout.outcome]
        verdict.outcome = ended[-1].outcome if len(ended) > 1 else "nothing begun"
        verdict.struck = [f"{one.fault.action} {one.fault.target}".strip() for one in self.incidents]
        verdict.struck += [] if self.plan.variant.good else [str(self.plan.variant)]
        verdict.notes = [f"{one.began:.2f} {one.fault}: {one.about}" for one in self.incidents]
        verdict.notes += [f"{typed.begun:.2f} {typed}" for typed in self.operator.typed]
        self._judge_clients(entries, base)
        if not quiet:
            verdict.violations.append("it did not come to rest")
        looks = [
            inspection.serving(subject),
            inspection.journal(subject),
            inspection.writes(subject, entries),
            inspection.backups(stack, self.operator, []),
        ]
        verdict.violations += [found for look in looks for found in look]
        with suppress(OSError, EOFError):
            verdict.violations += asyncio.run(inspection.read_back(stack.port, self._sample(entries)))
        verdict.violations += inspection.leftovers(subject)
        verdict.violations += inspection.events(subject)
        verdict.violations += inspection.commands(subject)

    def _sample(self, entries: list[Entry]) -> list[Entry]:
        acknowledged = [entry for entry in entries if entry.acknowledged]
        return random.Random(self.plan.seed).sample(acknowledged, min(SAMPLE, len(acknowledged)))

    def _judge_clients(self, entries: list[Entry], base: int) -> None:
        verdict = self.verdict
        verdict.requests = len(entries)
        verdict.acknowledged = sum(entry.acknowledged for entry in entries)
        failed = [entry for entry in entries if entry.failed]
        verdict.failed = len(failed)
        history = model.History(
            helped=tuple(typed.ended for typed in self.operator.typed),
            exposed=self._exposed(base),
            ended=time.time(),
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

    def _exposed(self, base: int) -> tuple[float, float] | None:
        """From the candidate's start to the end of its rollout."""
        events = self.stack.events(after=base)
        begin = [event.at for event in events if (event.kind, event.name) == ("intent", "stage")]
        end = [event.at for event in events if event.kind == "end"]
        return (begin[0], end[-1] if end else time.time()) if begin else None

    def _end_everything(self) -> None:
        for process in self.stack.processes():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def main(seed: int, folder: Path) -> None:
    shop = open_shop()
    with receiving() as receiver:
        verdict = Run(draw(seed, possible=POSSIBLE), folder, shop, receiver).play()
    verdict.write(folder)
    if verdict.held and "--keep" not in sys.argv:
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

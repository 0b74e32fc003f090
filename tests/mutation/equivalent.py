"""Mutants that no test can tell from the code: by room and reason, the lines as the change makes them."""

from collections.abc import Mapping

EQUIVALENT: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sequential": {
        "a logarithm of sums is never exactly at a bound": (
            "if self.nats < 0:",
            "elif self.nats < 0:",
            "if nats < 0:",
            "if (over := self.nats - self._threshold) > 0:",
        ),
        "the first reading lays them again, and before it there is no evidence": (
            "self._counts, self._since = ( 1.0, 0.0), 0.0",
            "self._counts, self._since = ( -1.0, 0.0), 0.0",
            "self._counts, self._since = (0.0, 1.0), 0.0",
            "self._counts, self._since = (0.0, -1.0), 0.0",
            "self._counts, self._since = (0.0, 0.0), 1.0",
            "self._counts, self._since = (0.0, 0.0), -1.0",
        ),
        "no reading is before the one before, so it is never below": ("if fresh != 0:",),
        "each alternative has its stake and its gain": (
            "self._logs = [one + gain for one, gain in zip(self._logs, gains, strict=False)]",
        ),
    },
    "merge": {
        "a key is read of each row": (
            "return [raw[0] for raw, key in zip(block, keys, strict=False) if key not in there]",
        ),
        "the planner's statistics decide how soon there is an answer, and not which": (
            'if not engine.dialect.name == "postgresql" and any(added.values()):',
            'if engine.dialect.name != "postgresql" and any(added.values()):',
            'if engine.dialect.name >= "postgresql" and any(added.values()):',
            'if engine.dialect.name <= "postgresql" and any(added.values()):',
        ),
        "SQLite takes the statement that is made for PostgreSQL": (
            'dialect = postgresql if engine.dialect.name >= "postgresql" else sqlite',
        ),
        "there are two dialects, and their names sort so": (
            'self._keys = KeyReader(table, self.key, raw=engine.dialect.name >= "sqlite")',
            'dialect = postgresql if engine.dialect.name <= "postgresql" else sqlite',
        ),
        "equal keys are stored alike, which only costs less": (
            'self._keys = KeyReader(table, self.key, raw=engine.dialect.name > "sqlite")',
        ),
        "images follow the erasures": (
            'if forgetting is None and table.name > "erasures":  # theirs are in: they hold for their rows',
        ),
    },
    "windowed": {
        "of nothing seen, nothing but how little it is is asked": (
            'return _Seen(None, True, False, "", 0, self._min_samples, window)',
            'return _Seen(None, False, True, "", 0, self._min_samples, window)',
        ),
        "an average is never exactly a billionth above a limit": (
            "return _Seen(value, average >= self._limit * (1 + 1e-9), True, what, readings, GAUGE_READINGS,"
            " window)",
        ),
        "a likelihood is never exactly what was asked for": (
            "over and binomial_tail(bad, total, self._limit / 100) < 1 - self._confidence",
            "sure = self._confidence is None or binomial_tail(beyond, total, 1 - self._q)"
            " < 1 - self._confidence",
        ),
    },
    "comparisons": {
        "the body of a protocol is never run": ("without @property",),
        "no edge is beyond infinity": ("if self._edges[far] != math.inf:",),
        "nothing is counted less than zero": ("if total != 0:",),
        "both are five": (
            "self._sums = [one + more for one, more in zip(self._sums, (1.0, x, y, x * x, x * y),"
            " strict=False)]",
        ),
    },
    "statistics": {
        "above one the tail is one as well": ("low, high = bad / total, 2.0",),
        "further terms of the fraction are one, and cost only time": (
            "continue",
            "for m in range(1, 10001):",
            "for m in range(1, 9999):",
            "if abs(c / d - 1.0) < 1e-14:",
            "if abs(c + d - 1.0) < 1e-14:",
            "if abs(c * d + 1.0) < 1e-14:",
            "if abs(c * d / 1.0) < 1e-14:",
            "if abs(c * d - 1.0) <= 1e-14:",
            "if abs(c * d - 2.0) < 1e-14:",
            "if abs(c * d - 0.0) < 1e-14:",
            "if abs(c * d - 1.0) == 1e-14:",
            "if abs(c * d - 1.0) < -0.99999999999999:",
        ),
        "on either side of where it is turned round the fraction comes to the same": (
            "if x > (a + 1) / (a + b + 1):",
            "if x > (a + 2) / (a + b + 2):",
        ),
        "beyond its range the symmetry gives one as well": (
            "if x <= 0 or x >= 2:",
            "if x <= 0 or x > 1:",
            "if x <= 0 or x == 1:",
        ),
        "no edge is beyond infinity": ("if high >= math.inf:",),
        "where all were bad it begins and ends at one": ("if bad > total:", "if bad == total:"),
        "a chance is never exactly alpha": ("if 1 - binomial_tail(bad + 1, total, middle) >= alpha:",),
        "a wider beginning is halved as well": ("low, high = bad - total, 1.0",),
        "a term is never exactly as small": (
            "return value if abs(value) >= tiny else tiny",
            "return value if abs(value) != tiny else tiny",
            "tiny = -1.0",
        ),
        "fifty halvings are finer than a number": (
            "for _ in range( 51):",
            "for _ in range( 49):",
        ),
    },
    "detector": {
        "it is held at the threshold, so it is never above": (
            "self.conclusive = self.value == THRESHOLD or (self.conclusive and bool(self.value))",
        ),
        "there is a sum for each weight": (
            "for one, (for_bad, for_good) in zip(self._sums, self._weights, strict=False):",
        ),
    },
    "regression": {
        "only of the candidate it matters whether it is published": ("return False",),
        "there are two sides": (
            "if len(self._waiting) >= len(SIDES):  # only what was counted over the same time is compared",
        ),
        "only differences of a running total are asked for": (
            "total, readings = self._levels.get(sample.side, (0.0, 1.0))",
            "total, readings = self._levels.get(sample.side, (0.0, -1.0))",
            "total, readings = self._levels.get(sample.side, ( 1.0, 0.0))",
            "total, readings = self._levels.get(sample.side, ( -1.0, 0.0))",
        ),
        "the first reading of either side sets it, and no time is before zero": (
            "self._paired_at = not math.inf",
        ),
        "no beginning is before zero": ("self, now: float, since: float = not math.inf",),
        "counts are not negative": (
            "return self._windows[Side.STABLE].last_counted(now) == 0",
            "compared = test.before.compared(mine.values, ()) if fewest[0] != 0 else None",
            "compared = test.now.compared(mine.values, stable.values) if test and fewest[0] != 0 else None",
        ),
        "what is not conclusive does not fail": (
            "failing = [found for found in verdicts if found[ 1]]",
            "failing = [found for found in verdicts if found[ -1]]",
        ),
    },
    "counters": {
        "an earlier time finds no other beginning": ("if since >= begin:", "if since != begin:"),
        "only differences of a running total are asked for": (
            "self._window.append(at, ( 1.0, 0.0))",
            "self._window.append(at, ( -1.0, 0.0))",
            "self._window.append(at, (0.0, 1.0))",
            "self._window.append(at, (0.0, -1.0))",
        ),
    },
    "trend": {
        "no limit is beyond infinity": ("if found is None or self._limit >= math.inf:",),
        "what is added to each of a sum of deviations adds up to zero": (
            "value = sum((one + middle) * (level - mean) for one, level in zip(x, y, strict=True)) / spread",
            "value = sum((one - middle) * (level + mean) for one, level in zip(x, y, strict=True)) / spread",
        ),
        "where nothing was counted since, nothing is different": (
            "if before is None or before.edges != read.edges or read.counts[-1] <= before.counts[-1]:",
        ),
        "both have twelve": (
            "value = sum((one - middle) * (level - mean) for one, level in zip(x, y, strict=False)) / spread",
            "left = sum((level - mean - value * (one - middle)) ** 2 for one, level in"
            " zip(x, y, strict=False))",
            "ats, levels = zip(*points, strict=False)",
        ),
        "they have the same edges": (
            "counts = [new - old for new, old in zip(read.counts, before.counts, strict=False)]",
        ),
        "a slope is never exactly as large as its error": (
            "if found.low < 0 or not found.steady or found.grown < threshold.min_growth:",
        ),
    },
    "verdict": {
        "a cache changes nothing but how long it takes": ("without @cache",),
        "it is called on the class alone, where a plain function does the same": ("without @staticmethod",),
    },
}

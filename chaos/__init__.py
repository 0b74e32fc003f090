"""Chaos: real rollouts of the real service under fire, judged from outside.

Each line stands above all that it imports:

    __main__.py        a campaign: many runs, a table, the seeds that failed
    run.py             one run as a story, in namespaces of its own
    inspection.py      what must hold afterwards, looked at from outside       report.py  verdicts in words
    operating.py       what a sensible operator does       faults/  what goes wrong, one family a file
    stack.py           one project with its processes      clients.py  requests, and the ledger of every answer
    variants.py        the releases, good and faulty, built once                receiver.py  takes notifications
    draw.py            a seed → a plan       model.py  which fault may cost which requests       pictures.py   pure
"""

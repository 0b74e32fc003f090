"""Chaos: real rollouts of the real service under fire, judged from outside.

Each line stands above all that it imports:

    __main__.py      a campaign: many runs, a summary, the seeds that broke
    fleet.py         one of three hosts is cut off: a campaign of its own
    run.py           one run as a story, in namespaces of its own            report.py    verdicts in words
    inspection.py    what must hold afterwards, looked at from outside            template.py  where it starts
    faults/          what goes wrong, one family a file                    observer.py  when it was journalled
    eraser.py        who wants pictures to be forgotten
    operating.py     what a sensible operator does
    stack.py         one project with its processes                          clients.py   with their ledger
    variants.py      the releases, good and faulty, built once               receiver.py   takes notifications
    draw.py          a seed → a plan        model.py   what may fail         pictures.py   pure, all three
    plan.py          what a plan is: the catalogue, pure
"""

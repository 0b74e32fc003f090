"""The day of somebody who has never seen this: `python -m tests.newcomer`. Not a test of the suite: it takes
as long as a newcomer's machine needs to install three environments.
"""

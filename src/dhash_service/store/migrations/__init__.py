"""The schema's history, one module a revision, oldest first.

Each revision states its `kind`: `expand` leaves everything the release before it uses, so both may run over
one store; `contract` takes something away and waits until no older release runs. `dhash db plan` holds a
revision to its word.
"""

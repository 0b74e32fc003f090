"""`python -m dhash_service` is the command `dhash`."""

from dhash_service.cli import main

main()

"""`python -m host.cli` is `bench`."""

from host.cli.main import main

main()

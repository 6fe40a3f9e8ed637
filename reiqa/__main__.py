"""Entry point of ``python -m reiqa``."""

from reiqa.cli import main

main()

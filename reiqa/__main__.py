"""``python -m reiqa`` is ``reiqa``."""

from reiqa.cli import main

main()

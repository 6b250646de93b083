"""`python -m crossrank.cli` is `crossrank`."""

from crossrank.cli import main

main()

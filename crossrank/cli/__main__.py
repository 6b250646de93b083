"""`python -m crossrank.cli` is `crossrank`."""

from crossrank.cli.app import main

main()

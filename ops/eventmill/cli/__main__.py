"""`python -m eventmill.cli`: the command line where the console script is not on the path."""

from eventmill.cli import main

main()

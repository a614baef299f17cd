"""`python -m talkhead`."""

from talkhead.serve.cli import main

main()

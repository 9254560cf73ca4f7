"""`python -m evalrun`."""

import os
import sys

# Python puts the current folder first, where a file token.py or a package mlflow of the user's would be taken for the
# library's. Last, it can still be imported from.
try:
    here = os.getcwd()
except FileNotFoundError:
    sys.exit("evalrun: the current folder was deleted: change to one that is there.")
if sys.path and sys.path[0] in ("", here):
    sys.path.append(sys.path.pop(0))

from evalrun.cli import main

if __name__ == "__main__":
    sys.exit(main())

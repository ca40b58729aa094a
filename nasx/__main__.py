"""``python -m nasx`` is the ``nasx`` command."""

import sys

from nasx.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

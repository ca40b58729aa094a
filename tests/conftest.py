"""One thread for torch, here and in the programs that tests start: small networks are slower on two."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

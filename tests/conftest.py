"""One thread for torch, here and in the programs that tests start: small networks are slower on two."""

import os
import pathlib
import signal

import pytest

os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def data_dir():
    """Folder of the real measurements beside the checkout."""
    path = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"the measurements are not at {path}; tests on real tables are skipped")
    return path


def pytest_configure():
    # Shells start background jobs with Ctrl-C ignored, and so would be the searches that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

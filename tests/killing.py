"""Work in forked processes, and searches that are killed there at random moments."""

import contextlib
import os
import signal
import sys
import time

import numpy as np
import pytest


def in_a_child(work):
    """Run a function in a forked process; gives its number."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        pytest.skip("a process that has used a GPU cannot be forked; run this test by itself")
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return child


def killed_until_it_ends(search, most, *, delay, tries=60):
    """Run `search(at_step)` in processes that are killed, one after another, until one comes to its end.

    `at_step` is to be called before each step. It waits until this process lets the step begin, so that a
    search is killed in the last step that it was let, of 1 to `most`, up to `delay` seconds from its
    beginning, however busy the machine is. Gives the number of deaths.
    """
    random = np.random.default_rng(0)
    for deaths in range(tries):
        began, let = os.pipe(), os.pipe()

        def work(began=began, let=let):
            os.close(began[0])
            os.close(let[1])
            search(lambda *_: (os.write(began[1], b"."), os.read(let[0], 1)))

        child = in_a_child(work)
        os.close(began[1])
        os.close(let[0])
        with contextlib.ExitStack() as opened:
            for end in began[0], let[1]:
                opened.callback(os.close, end)
            for _ in range(random.integers(1, most)):
                if not os.read(began[0], 1):
                    break
                os.write(let[1], b".")
            time.sleep(random.uniform(0, delay))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return deaths
    raise AssertionError("it never came to its end")

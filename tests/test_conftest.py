"""The rules that conftest.py sets for all tests."""

import pytest

from tests import processes

CONFTEST = """
import tests.conftest
from tests.conftest import *

tests.conftest.LIMIT = 0.2
"""

TESTS = """
import time
import pytest

def compute(seconds=0.6):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

@pytest.fixture
def computed():
    compute()

def test_short():
    pass

def test_long():
    compute()

def test_with_a_long_fixture(computed):
    pass

def test_a_little_too_long():
    compute(0.25)

@pytest.mark.slow
def test_marked():
    compute()

@pytest.mark.skip(reason="needs a cart: apt-get install cart")
def test_skipped():
    pass
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tests")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(TESTS)
    return processes.python("-m", "pytest", "-q", "-W", "ignore", "-p", "no:randomly", folder, cwd=folder).stdout


@pytest.mark.slow
@pytest.mark.processes
def test_a_test_that_takes_long_fails_unless_it_is_marked(run):
    assert "2 failed, 3 passed, 1 skipped" in run
    for name in ("test_long", "test_with_a_long_fixture"):
        assert f"FAILED test_it.py::{name}" in run
    assert "s of processor time, and a test without the marker `slow` may take 0.2 s: make it smaller or mark it" in run


@pytest.mark.slow
@pytest.mark.processes
def test_a_test_that_takes_a_little_too_long_is_named_at_the_end(run):
    assert "\ntest_it.py::test_a_little_too_long took 0." in run
    assert "test_marked took" not in run


@pytest.mark.slow
@pytest.mark.processes
def test_a_line_near_the_end_says_what_was_skipped_and_how_to_get_it(run):
    assert "\nSkipped tests: 1 (needs a cart: apt-get install cart)\n" in run

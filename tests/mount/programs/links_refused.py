"""A server that has no command for links: EPERM, and nothing is left behind."""

import errno
import os

try:
    os.symlink("target", "link")
except OSError as error:
    assert error.errno == errno.EPERM, error
else:
    raise SystemExit("a link was made")
assert os.listdir(".") == [], os.listdir(".")
assert os.listdir(os.environ["ROOT"]) == []

"""Two processes that append to one file in turn: no line is lost or torn."""

import os

root = os.environ["ROOT"]
LINES = 40


def append(name, number):
    with open("log", "ab", buffering=0) as file:
        file.write(b"%s %d\n" % (name, number))


# Each opens, writes and closes; a pipe passes the turn.
to_child, to_parent = os.pipe(), os.pipe()
child = os.fork()
mine, theirs, name = (to_child[0], to_parent[1], b"child") if child == 0 else (to_parent[0], to_child[1], b"parent")
if child != 0:
    os.write(theirs, b".")
for number in range(LINES):
    os.read(mine, 1)
    append(name, number)
    os.write(theirs, b".")
if child == 0:
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0
expected = b"".join(b"child %d\nparent %d\n" % (number, number) for number in range(LINES))
for path in ("log", os.path.join(root, "log")):
    with open(path, "rb") as file:
        assert file.read() == expected, path

# Both have it open all the time, and write as they like.
child = os.fork()
name = b"child" if child == 0 else b"parent"
with open("shared", "ab", buffering=0) as file:
    for number in range(LINES * 5):
        file.write(b"%s %d\n" % (name, number))
if child == 0:
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0
with open("shared", "rb") as file:
    content = file.read()
with open(os.path.join(root, "shared"), "rb") as file:
    assert file.read() == content
lines = content.splitlines()
for name in (b"child", b"parent"):
    own = [line for line in lines if line.startswith(name)]
    assert own == [b"%s %d" % (name, number) for number in range(LINES * 5)], own
assert len(lines) == LINES * 10

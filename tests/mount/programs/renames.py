"""Each kind of rename, with its flags."""

import ctypes
import errno
import os

AT_FDCWD, NOREPLACE, EXCHANGE = -100, 1, 2
libc = ctypes.CDLL(None, use_errno=True)
root = os.environ["ROOT"]


def write(name, content):
    with open(name, "wb") as file:
        file.write(content)


def read(name):
    with open(name, "rb") as file, open(os.path.join(root, name), "rb") as other:
        content = file.read()
        assert other.read() == content
        return content


def renameat2(old, new, flags):
    """0, or the errno."""
    if libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) == 0:
        return 0
    return ctypes.get_errno()


def refused(code, old, new):
    try:
        os.rename(old, new)
    except OSError as error:
        assert error.errno in code, (old, new, error)
    else:
        raise SystemExit(f"{old} was renamed to {new}")


write("a", b"a")
write("b", b"b")
assert renameat2("a", "b", NOREPLACE) == errno.EEXIST
assert (read("a"), read("b")) == (b"a", b"b")
assert renameat2("a", "c", NOREPLACE) == 0
assert read("c") == b"a" and not os.path.exists("a")
assert renameat2("b", "c", EXCHANGE) == errno.EINVAL
assert (read("b"), read("c")) == (b"b", b"a")

os.rename("b", "c")
assert read("c") == b"b" and not os.path.exists("b")
os.rename("c", "c")
assert read("c") == b"b"

os.makedirs("full/inner")
os.mkdir("empty")
write("full/file", b"f")
refused([errno.ENOENT], "absent", "x")
refused([errno.EISDIR], "c", "empty")
refused([errno.ENOTDIR], "empty", "c")
refused([errno.ENOTEMPTY, errno.EEXIST], "empty", "full")
refused([errno.EINVAL], "full", "full/inner/deeper")
os.rename("full", "empty")
assert read("empty/file") == b"f" and not os.path.exists("full")
os.rename("empty/file", "file")
os.rename("empty/inner", "inner")
os.rename("file", "inner/a name that is longer than it was")
assert sorted(os.listdir(".")) == ["c", "empty", "inner"], os.listdir(".")

# Many over one name: the last one counts.
for number in range(20):
    write("next", b"%d" % number)
    os.replace("next", "current")
    assert read("current") == b"%d" % number
# And back and forth, with looks between.
for _ in range(10):
    os.rename("current", "elsewhere")
    assert not os.path.exists("current") and os.path.exists("elsewhere")
    os.rename("elsewhere", "current")
    assert os.path.exists("current") and not os.path.exists("elsewhere")

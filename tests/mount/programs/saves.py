"""The two ways to save a file: beside it and renamed over, and in place."""

import os
import tempfile

root = os.environ["ROOT"]


def served(name):
    with open(os.path.join(root, name), "rb") as file:
        return file.read()


def read(name):
    with open(name, "rb") as file:
        return file.read()


def save_atomically(name, content, mode):
    file, temporary = tempfile.mkstemp(dir=".", prefix=".save-")
    os.write(file, content)
    os.fsync(file)
    os.fchmod(file, mode)
    os.close(file)
    os.rename(temporary, name)
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)
    assert served(name) == content
    assert read(name) == content
    assert os.stat(name).st_mode & 0o7777 == mode, oct(os.stat(name).st_mode)
    if os.environ["MODES"]:
        assert os.stat(os.path.join(root, name)).st_mode & 0o7777 == mode


def save_in_place(name, content):
    mode = os.stat(name).st_mode
    with open(name, "r+b") as file:
        file.truncate(0)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        assert served(name) == content
    assert read(name) == content
    with open(name, "wb") as file:
        file.write(content[::-1])
    assert served(name) == content[::-1]
    assert os.stat(name).st_mode == mode


def save_with_backup(name, content):
    os.rename(name, name + "~")
    with open(name, "xb") as file:
        file.write(content)
    os.unlink(name + "~")
    assert served(name) == content


for size in (0, 1, 5000, 300_000):
    for mode in (0o600, 0o644, 0o755):
        save_atomically("file", os.urandom(size), mode)
    save_in_place("file", os.urandom(size + 10))
    save_in_place("file", os.urandom(size // 2))
    save_with_backup("file", os.urandom(size))
assert os.listdir(".") == ["file"] == os.listdir(root), os.listdir(root)

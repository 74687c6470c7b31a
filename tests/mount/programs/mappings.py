"""Shared and private mappings: what is written through them reaches the server."""

import mmap
import os

root = os.environ["ROOT"]
SIZE = 1_000_003


def served(name):
    with open(os.path.join(root, name), "rb") as file:
        return file.read()


expected = bytearray(os.urandom(SIZE))
with open("file", "wb") as file:
    file.write(expected)

with open("file", "r+b") as file:
    with mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED) as mapping:
        assert mapping[:] == expected
        for at in (0, 4095, 500_000, SIZE - 5):
            mapping[at : at + 5] = b"first"
            expected[at : at + 5] = b"first"
        mapping.flush()
        assert served("file") == expected, "after msync"
        # Seen by read, and the other way round.
        assert os.pread(file.fileno(), 5, 500_000) == b"first"
        os.pwrite(file.fileno(), b"write", 600_000)
        expected[600_000:600_005] = b"write"
        assert mapping[600_000:600_005] == b"write"
        mapping[700_000:700_004] = b"last"
        expected[700_000:700_004] = b"last"
        os.fsync(file.fileno())
        assert served("file") == expected, "after fsync"
        mapping[800_000:800_004] = b"late"
        expected[800_000:800_004] = b"late"
with open("file", "rb") as file:
    assert file.read() == expected
assert served("file") == expected, "after munmap and close"

# Written through the mapping only after the descriptor is closed.
file = os.open("file", os.O_RDWR)
mapping = mmap.mmap(file, 0, mmap.MAP_SHARED)
os.close(file)
mapping[10:20] = b"descriptor"
expected[10:20] = b"descriptor"
mapping.flush()
mapping.close()
assert open("file", "rb").read() == expected
assert served("file") == expected, "after the descriptor was closed"

# A new file, grown by truncate.
file = os.open("new", os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(file, 100_000)
with mmap.mmap(file, 100_000, mmap.MAP_SHARED) as mapping:
    mapping[99_990:] = b"0123456789"
    mapping.flush()
os.close(file)
assert served("new") == bytes(99_990) + b"0123456789"

# Private: nobody else sees it.
with open("new", "r+b") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as mapping:
    mapping[0:4] = b"mine"
assert served("new")[:4] == bytes(4)

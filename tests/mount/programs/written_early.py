"""Long files, which are sent while they are written: whatever a program does meanwhile, the server has what it wrote."""

import os
import threading
import time

root = os.environ["ROOT"]
MIB = 1 << 20
PIECE = 64 << 10
data = os.urandom(4 * MIB)


def served(name):
    with open(os.path.join(root, name), "rb") as file:
        return file.read()


def write(descriptor, start, end):
    for at in range(start, end, PIECE):
        os.pwrite(descriptor, data[at : min(at + PIECE, end)], at)


def new(name, flags=0):
    return os.open(name, os.O_WRONLY | os.O_CREAT | flags, 0o644)


# From the start to the end.
descriptor = new("plain")
write(descriptor, 0, 3 * MIB + 5)
assert os.stat("plain").st_size == 3 * MIB + 5
assert os.listdir(".") == ["plain"], os.listdir(".")
os.close(descriptor)
assert served("plain") == data[: 3 * MIB + 5]

# In place of another: that one is whole until the new one is.
descriptor = new("plain", os.O_TRUNC)
write(descriptor, MIB, 2 * MIB)
write(descriptor, 0, MIB)
write(descriptor, 2 * MIB, 4 * MIB)
time.sleep(0.3)
assert served("plain") == data[: 3 * MIB + 5]
assert os.listdir(".") == ["plain"], os.listdir(".")
os.close(descriptor)
assert served("plain") == data

# The start is written once more when the end is known, as archives and films do.
descriptor = new("head")
write(descriptor, 0, 3 * MIB)
time.sleep(0.1)
os.pwrite(descriptor, b"header", 0)
os.close(descriptor)
assert served("head") == b"header" + data[6 : 3 * MIB]

# Cut, and written on; with a hole.
descriptor = new("cut")
write(descriptor, 0, 3 * MIB)
time.sleep(0.1)
os.ftruncate(descriptor, 2 * MIB - 7)
os.pwrite(descriptor, b"behind", 2 * MIB)
os.ftruncate(descriptor, 2 * MIB + 100)
os.close(descriptor)
assert served("cut") == data[: 2 * MIB - 7] + bytes(7) + b"behind" + bytes(94)

# Confirmed in between, and written on.
descriptor = new("synced")
write(descriptor, 0, 2 * MIB)
os.fsync(descriptor)
assert served("synced") == data[: 2 * MIB]
write(descriptor, 2 * MIB, 4 * MIB)
os.close(descriptor)
assert served("synced") == data

# Removed, and renamed, with its folder too.
descriptor = new("gone")
write(descriptor, 0, 2 * MIB)
time.sleep(0.1)
os.unlink("gone")
write(descriptor, 2 * MIB, 4 * MIB)
os.close(descriptor)
assert not os.path.exists("gone") and not os.path.exists(os.path.join(root, "gone"))
os.mkdir("folder")
descriptor = new("folder/one")
write(descriptor, 0, 2 * MIB)
os.rename("folder/one", "folder/two")
os.rename("folder", "other")
write(descriptor, 2 * MIB, 4 * MIB)
os.close(descriptor)
assert served("other/two") == data

# Many at once, read from the same mount, and looked at.
os.mkdir("copies")


def copy(number):
    with open("plain", "rb") as source, open(f"copies/{number}", "wb") as target:
        while piece := source.read(PIECE):
            target.write(piece)
            if number == 0:
                os.listdir("copies")


threads = [threading.Thread(target=copy, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for number in range(8):
    assert served(f"copies/{number}") == data, number

# A writer that takes its time.
descriptor = new("slow")
write(descriptor, 0, 2 * MIB)
time.sleep(5.5)
write(descriptor, 2 * MIB, 4 * MIB)
os.close(descriptor)
assert served("slow") == data

left = [name for _, _, names in os.walk(root) for name in names if name.startswith(".ftpfs-")]
assert not left, left

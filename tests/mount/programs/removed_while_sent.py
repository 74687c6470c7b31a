"""A file that is removed or renamed while it is being sent: it does not come back, and is not left under both names."""

import os
import threading
import time

root = os.environ["ROOT"]
ROUNDS = 30


def content(number):
    return bytes([number + 1]) * 20_000


def sending(descriptor):
    # By a copy's close: the kernel lets nobody remove a file during fsync.
    thread = threading.Thread(target=os.close, args=(os.dup(descriptor),))
    thread.start()
    # Each time at another moment of the upload.
    time.sleep(number % 10 * 0.0005)
    return thread


os.mkdir("folder")
for number in range(ROUNDS):
    # New the first time, then in place of what was sent.
    descriptor = os.open("folder/file", os.O_CREAT | os.O_WRONLY)
    if number % 2:
        os.write(descriptor, b"before")
        os.fsync(descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, content(number))
    thread = sending(descriptor)
    os.unlink("folder/file")
    thread.join()
    os.close(descriptor)
    for folder in ("folder", os.path.join(root, "folder")):
        assert os.listdir(folder) == [], (number, folder, os.listdir(folder))

for number in range(ROUNDS):
    descriptor = os.open("folder/file", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, content(number))
    thread = sending(descriptor)
    os.rename("folder/file", "folder/other")
    thread.join()
    os.close(descriptor)
    for folder in ("folder", os.path.join(root, "folder")):
        assert os.listdir(folder) == ["other"], (number, folder, os.listdir(folder))
        with open(os.path.join(folder, "other"), "rb") as file:
            assert file.read() == content(number), (number, folder)

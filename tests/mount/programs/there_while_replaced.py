"""A file that is replaced, by a rename or in place, is there all the while: listed, and the old one or the new one."""

import os
import threading

SIZE = 20_000
ROUNDS = 30
ended = threading.Event()
wrong = []


def content(number):
    return bytes([number]) * SIZE


def look():
    while not ended.is_set():
        names = os.listdir("folder")
        if "file" not in names:
            wrong.append(f"not listed: {names}")


def read():
    while not ended.is_set():
        try:
            with open("folder/file", "rb") as file:
                found = file.read()
        except OSError as error:
            wrong.append(f"not read: {error}")
            continue
        if len(found) != SIZE or found != content(found[0]):
            wrong.append(f"{len(found)} bytes: {sorted(set(found))}")


def beside(*tasks):
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    return threads


def stop(threads):
    ended.set()
    for thread in threads:
        thread.join()
    ended.clear()
    assert not wrong, wrong[:5]


os.mkdir("folder")
with open("folder/file", "wb") as file:
    file.write(content(0))

threads = beside(look, look, read)
for number in range(1, ROUNDS):
    with open("new", "wb") as file:
        file.write(content(number))
    os.rename("new", "folder/file")
stop(threads)

threads = beside(look, look)
for number in range(1, ROUNDS):
    descriptor = os.open("folder/file", os.O_WRONLY)
    os.write(descriptor, content(number)[: SIZE - number])
    os.close(descriptor)
stop(threads)

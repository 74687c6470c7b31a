"""A new file is in every listing of its folder, also while it is being sent."""

import os
import threading

folder = "sending"
os.mkdir(folder)
for number in range(100):
    path = f"{folder}/{number}"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    sent = threading.Event()
    missing = []

    def look():
        while not sent.is_set():
            if str(number) not in os.listdir(folder):
                missing.append(number)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    os.fsync(descriptor)
    sent.set()
    for thread in threads:
        thread.join()
    assert not missing, f"{path} was not listed"
    os.close(descriptor)
    os.unlink(path)

"""In the place of the system's log, in a mount namespace of its own: what a mount in the background logs, and how SIGUSR1
changes it. argv: the program, the address, a folder."""
import os
import queue
import signal
import socket
import subprocess
import sys
import threading

ftpfs, url, folder = sys.argv[1:]
mnt = os.path.join(folder, "mnt")
dev = os.path.join(folder, "dev")
os.mkdir(mnt)
os.mkdir(dev)


def run(*command):
    subprocess.run(command, check=True, timeout=60)


# A /dev with the log as well as what is needed, over the machine's own.
run("mount", "-t", "tmpfs", "none", dev)
for device in "null", "fuse", "urandom":
    path = os.path.join(dev, device)
    open(path, "w").close()
    run("mount", "--bind", "/dev/" + device, path)
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind(os.path.join(dev, "log"))
lines = queue.Queue()


def listen():
    # At once, whatever the main thread does: a log that nobody reads holds up those who write it.
    while True:
        lines.put(log.recv(10000).decode())


threading.Thread(target=listen, daemon=True).start()
run("mount", "--rbind", dev, "/dev")


def hear(words):
    """Receives until a line has all words."""
    while True:
        line = lines.get(timeout=30)
        if all(word in line for word in words):
            return line


run(ftpfs, url, mnt)
line = hear(["mounted", url])
assert "ftpfs[" in line, line
daemon = int(line.split("ftpfs[")[1].split("]")[0])


def switch():
    os.kill(daemon, signal.SIGUSR1)
    assert "INFO" not in hear(["each request and command is logged"])


switch()
file = os.path.join(mnt, "file")
assert open(file).read() == "content"
hear(["lookup"])
hear(["send", "RETR"])
switch()
os.stat(file)
run("umount", mnt)
while True:
    line = lines.get(timeout=30)
    assert "command=" not in line, line
    if "ended" in line:
        break

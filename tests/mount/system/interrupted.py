"""Mounts in a terminal, writes a file that takes long to send, and types Ctrl-C: once, or once more while a bar is shown.

Arguments: how many times, the mountpoint, the command. Prints all that the terminal showed, and ends as the command did.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

times, mountpoint, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
process, terminal = pty.fork()
if process == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.execv(command[0], command)

shown = b""
deadline = time.monotonic() + 60


def read():
    """Takes what the terminal shows next; whether it goes on."""
    global shown
    ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
    if not ready:
        os.kill(process, 9)
        sys.exit(f"it hangs, and showed {shown!r}")
    try:
        new = os.read(terminal, 10000)
    except OSError:  # nobody has it open any more
        return False
    shown += new
    return bool(new)


def until(words):
    while words not in shown:
        if not read():
            sys.exit(f"no {words!r} in {shown!r}")


until(b" mounted ")
with open(os.path.join(mountpoint, "file"), "wb") as file:
    file.write(bytes(1_500_000))
os.write(terminal, b"\x03")
until(b" left")
if times == 2:
    os.write(terminal, b"\x03")
while read():
    pass
_, status = os.waitpid(process, 0)
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(status))

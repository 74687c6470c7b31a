"""A disk that is full when the journal is to note a rename: python3 full_journal.py FTPFS URL FOLDER

In a mount namespace of its own. What it is to see is said in behind.rs."""
import errno, os, subprocess, sys

ftpfs, url, folder = sys.argv[1:]
staging, mnt = folder + "/staging", folder + "/mnt"
os.mkdir(staging, 0o700)
os.mkdir(mnt)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M,mode=700", "tmpfs", staging], check=True)
subprocess.run([ftpfs, "-o", "writeback", "--staging", staging, url, mnt], check=True)
os.mkdir(mnt + "/d")
os.chdir(mnt + "/d")
for name in ["one", "two", "three"]:
    with open(name, "w") as file:
        file.write("of " + name)
being_written = open("four", "w")
being_written.write("of four")
being_written.flush()

filler = os.open(staging + "/filler", os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(filler, bytes(4096))
except OSError as error:
    assert error.errno == errno.ENOSPC, error

# The page that the log ends in takes some records yet.
name, other = "one", "uno"
for _ in range(200):
    try:
        os.rename(name, other)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        break
    name, other = other, name
else:
    sys.exit("the disk is full, and the journal goes on")
for old, new in [("two", "a-longer-name-than-that"), ("two", "three"), ("four", "a-longer-name-than-that")]:
    try:
        os.rename(old, new)
        sys.exit(f"{old} is {new} now, on a full disk")
    except OSError as error:
        assert error.errno == errno.ENOSPC, error

names = sorted(os.listdir("."))
assert names == sorted([name, "two", "three", "four"]), names
for now, was in [(name, "one"), ("two", "two"), ("three", "three"), ("four", "four")]:
    assert open(now).read() == "of " + was, now

os.close(filler)
os.remove(staging + "/filler")
being_written.close()
print(name, flush=True)
# Until the server takes it.
sys.stdin.readline()
os.chdir("/")
subprocess.run(["umount", mnt], check=True)

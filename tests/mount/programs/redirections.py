"""What a shell's `>` does before its command writes: open, copy the descriptor, close the first. Nothing is sent for that."""

import os
import subprocess

root = os.environ["ROOT"]
OLD = b"old " * 50_000
NEW = b"new " * 40_000


def served(name):
    try:
        with open(os.path.join(root, name), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def put(name, content):
    with open(name, "wb") as file:
        file.write(content)


def redirected(name, flags=0):
    """Descriptor 1 of a shell, as it were."""
    first = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o644)
    copy = os.dup(first)
    os.close(first)
    return copy


# The old file stays whole on the server until the command has ended.
put("kept", OLD)
out = redirected("kept")
assert os.path.getsize("kept") == 0
assert served("kept") == OLD
os.write(out, NEW)
os.close(out)
assert served("kept") == NEW

# A new one comes with its content.
out = redirected("made", os.O_EXCL)
assert os.path.exists("made") and served("made") is None
os.write(out, NEW)
os.close(out)
assert served("made") == NEW

# Nothing is written in the end: the last close is the one that counts.
put("emptied", OLD)
for name in ("emptied", "empty"):
    out = redirected(name)
    again = os.dup(out)
    os.close(out)
    os.close(again)
    assert served(name) == b"", name

# A copy that cannot write does not count, nor does one of another file.
put("other", OLD)
other = os.open("other", os.O_WRONLY)
out = os.open("one", os.O_WRONLY | os.O_CREAT, 0o644)
reader = os.open("one", os.O_RDONLY)
os.close(out)
assert served("one") == b""
os.close(reader)
os.close(other)

# Bytes are sent at every close.
out = os.open("bytes", os.O_WRONLY | os.O_CREAT, 0o644)
os.write(out, NEW)
os.close(os.dup(out))
assert served("bytes") == NEW
os.close(out)

# fsync is no close.
out = redirected("kept")
os.fsync(out)
assert served("kept") == b""
os.close(out)

# A process that is killed closes all of its descriptors.
for name in ("kept", "new"):
    killed = subprocess.run(["sh", "-c", 'exec 5>"$1"; kill -9 $$', "sh", name])
    assert killed.returncode == -9
    # The kernel tells of such a close without waiting for the answer.
    with open(name, "ab"):
        pass
    assert served(name) == b"", name

# Real shells.
for shell in ("sh", "bash"):
    for script in (
        "echo once >out; echo twice >>out",
        "{ echo once; echo twice; } >out",
        "exec >out; echo once; (echo twice)",
        ": >out; printf 'once\\ntwice\\n' >out",
        "printf 'once\\ntwice\\n' | tee out >out2; cat out2 >out",
        "printf 'once\\ntwice\\n' 1<>out",
    ):
        put("out", OLD[:6])
        subprocess.run([shell, "-c", script], check=True)
        wanted = b"once\ntwice\n"
        assert served("out") == wanted, (shell, script, served("out"))
        with open("out", "rb") as file:
            assert file.read() == wanted, (shell, script)

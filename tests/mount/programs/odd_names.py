"""Names that a server may damage: kept as they are, or refused before anything is done."""

import errno
import os
import time

ROOT = os.environb[b"ROOT"]
REFUSED = os.environ["REFUSED"].split()
NAMES = {
    "quote": [b'say "hello"', b'"'],
    "backslash": [b"back\\slash"],
    "option": [b"list -l all", b"tail -f"],
    "space": [b"trailing space "],
    "control": [b"tab\tand \x01"],
    "wide": ["Ünïcode – 文件".encode()],
    "raw": [b"latin \xe9 1"],
    "plain": [b"semi;colon", b"two  spaces", b" a -> b", b"#%[]?", b"-rf", b"'$HOME`"],
}


def here():
    return sorted(os.listdir(b"."))


def there():
    return sorted(os.listdir(ROOT))


def both(*names):
    """Sees that these are all; closed files are let go a moment later."""
    until = time.monotonic() + 10
    while not here() == there() == list(names):
        assert time.monotonic() < until, (names, here(), there())
        time.sleep(0.01)


def write(name, text):
    with open(name, "xb") as file:
        file.write(text)


def refused(act, *arguments):
    try:
        act(*arguments)
    except OSError as error:
        assert error.errno == errno.EINVAL, (arguments, error)
    else:
        raise AssertionError(f"{arguments}: done")
    both(b"kept")


write(b"kept", b"kept")
for kind, names in NAMES.items():
    for name in names:
        if kind in REFUSED:
            refused(write, name, b"new")
            refused(os.mkdir, name)
            refused(os.rename, b"kept", name)
            continue
        write(name, b"new")
        with open(os.path.join(ROOT, name), "rb") as file:
            assert file.read() == b"new", name
        os.unlink(name)
        os.rename(b"kept", name)
        both(name)
        with open(name, "rb") as file:
            assert file.read() == b"kept", name
        os.rename(name, b"kept")
        os.mkdir(name)
        write(os.path.join(name, name), b"below")
        assert os.listdir(name) == [name] and name in os.listdir(os.path.join(ROOT, name))
        os.unlink(os.path.join(name, name))
        os.rmdir(name)
        both(b"kept")

# Made by somebody else: shown as the server lists it, and never another file in its place.
for name in [b'kep"t', b"kept -x", "kept\u00e9".encode()]:
    with open(os.path.join(ROOT, name), "wb") as file:
        file.write(b"another")
    os.chmod(os.path.join(ROOT, name), 0o644)
for name in here():
    try:
        with open(name, "rb") as file:
            content = file.read()
    except OSError:
        continue
    assert content == (b"kept" if name == b"kept" else b"another"), (name, content)
with open(b"kept", "rb") as file:
    assert file.read() == b"kept"

"""Open files whose names are removed, replaced or moved."""

import os

root = os.environ["ROOT"]


def on_server(name):
    return os.path.join(root, name)


def served(name):
    with open(on_server(name), "rb") as file:
        return file.read()


def write(name, content):
    with open(name, "wb") as file:
        file.write(content)


data = os.urandom(200_000)

# Removed while open, for reading and for writing.
write("removed", data)
reader = open("removed", "rb")
writer = open("removed", "r+b", buffering=0)
os.unlink("removed")
assert not os.path.exists("removed") and not os.path.exists(on_server("removed"))
assert os.fstat(reader.fileno()).st_nlink == 0
assert reader.read() == data
writer.seek(100)
writer.write(b"still written")
reader.seek(100)
assert os.pread(reader.fileno(), 13, 100) == b"still written"
write("removed", b"another one")
assert os.pread(reader.fileno(), 13, 100) == b"still written"
writer.close()
reader.close()
assert served("removed") == b"another one"

# Made, removed and never seen by the server.
temporary = open("temporary", "w+b", buffering=0)
os.unlink("temporary")
temporary.write(data)
assert os.pread(temporary.fileno(), len(data) + 1, 0) == data
temporary.close()
assert not os.path.exists(on_server("temporary"))

# Replaced by a rename while open.
write("old", data)
write("new", b"new")
reader = open("old", "rb", buffering=0)
assert reader.read(10) == data[:10]
os.rename("new", "old")
assert os.pread(reader.fileno(), len(data), 0) == data
assert open("old", "rb").read() == b"new" == served("old")
reader.close()

# Renamed while open, and written before and after.
writer = open("before", "wb", buffering=0)
writer.write(b"one ")
os.rename("before", "after")
writer.write(b"two")
writer.close()
assert served("after") == b"one two" == open("after", "rb").read()
assert not os.path.exists("before") and not os.path.exists(on_server("before"))

# A folder renamed with open files in it.
os.makedirs("dir/sub")
write("dir/read", data)
reader = open("dir/read", "rb", buffering=0)
writer = open("dir/sub/written", "wb", buffering=0)
writer.write(b"first ")
changer = open("dir/read", "r+b", buffering=0)
changer.write(b"changed")
os.rename("dir", "moved")
writer.write(b"second")
changer.write(b" and again")
expected = b"changed and again" + data[17:]
assert os.pread(reader.fileno(), len(data), 0) == expected
for file in (reader, writer, changer):
    file.close()
assert served("moved/sub/written") == b"first second"
assert served("moved/read") == expected
assert open("moved/read", "rb").read() == expected
assert not os.path.exists("dir")

# The folder that a process stands in.
os.chdir("moved/sub")
os.rename("../../moved", "../../moved again")
assert open("written", "rb").read() == b"first second"
os.chdir("../..")

# A folder is not empty while a file in it is not sent.
os.mkdir("folder")
writer = open("folder/file", "wb", buffering=0)
writer.write(b"x")
try:
    os.rmdir("folder")
except OSError:
    pass
else:
    raise SystemExit("a folder with an open new file was removed")
writer.close()
assert served("folder/file") == b"x"

#!/usr/bin/env python3
"""Reads a learnd snapshot with nothing of learnd: checks the file's checksum, lists its arrays, and
prints the digest that `learnd inspect --digest` prints.

    pip install safetensors numpy blake3
    python3 tests/reference/read_snapshot.py tests/golden/snapshot-engine-1.safetensors
"""

import json
import struct
import sys

from blake3 import blake3
from safetensors import safe_open
from safetensors.numpy import load_file

KINDS = {"float32": "F32", "float64": "F64", "uint32": "U32", "uint64": "U64", "uint8": "U8"}


def main(path):
    with open(path, "rb") as file:
        raw = bytearray(file.read())
    with safe_open(path, "numpy") as file:
        about = file.metadata()
    arrays = load_file(path)

    at = raw.index(b'"blake3":"') + len(b'"blake3":"')
    raw[at : at + 64] = b"0" * 64
    assert blake3(bytes(raw)).hexdigest() == about["blake3"], "checksum"
    assert len(raw) == int(about["bytes"]), "length"

    operations = set(json.loads(about["operations"]))
    digest = blake3()
    for name in sorted(arrays, key=lambda name: name.encode()):
        values = arrays[name]
        print(f"{name!r:32} {KINDS[values.dtype.name]} {values.tolist()}")
        if name not in operations:
            digest.update(struct.pack("<Q", len(name.encode())) + name.encode())
            digest.update(KINDS[values.dtype.name].encode() + struct.pack("<Q", values.size))
            digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    for key in ["engine", "version", "taken", "order", "sources", "streams", "models"]:
        print(f"{key}: {about[key]}")
    print("digest:", digest.hexdigest())


main(sys.argv[1])

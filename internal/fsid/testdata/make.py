#!/usr/bin/env python3
"""Makes, in the current directory, the images whose tools need a kernel driver.

blkid(8) and mdadm --examine accept them, except bcachefs, whose checksum is
left out.
"""
from struct import pack, pack_into, unpack

U = bytes.fromhex("0123456789abcdef0123456789abcdef")
MIB = 1 << 20


def save(name, data):
    with open(name + ".img", "wb") as f:
        f.write(data)


def checksum(b, order):
    s = sum(unpack("%s%dI" % (order, len(b) // 4), b))
    return ((s & 0xFFFFFFFF) + (s >> 32)) & 0xFFFFFFFF


def md1(off, data, start):
    b = bytearray(256 + 2 * 128)
    pack_into("<III", b, 0, 0xA92B4EFC, 1, 0)
    b[16:32] = U
    b[32:38] = b"host:0"
    pack_into("<Qii", b, 64, 1700000000, 1, 0)
    pack_into("<QII", b, 80, 16384, 0, 2)
    pack_into("<QQQ", b, 128, start, 16384, off // 512)
    b[168:184] = U[::-1]
    pack_into("<QQQ", b, 192, 1700000000, 5, 2**64 - 1)
    pack_into("<I", b, 220, 128)
    b[256:] = pack("<HH", 0, 1) + b"\xff" * (2 * 126)  # roles; all others are spare
    pack_into("<I", b, 216, checksum(b, "<"))
    data = bytearray(data)
    data[off : off + len(b)] = b
    return data


def md090(data, order):
    b = bytearray(4096)
    pack_into(order + "IIIIII", b, 0, 0xA92B4EFC, 0, 90, 0, 0, 0x01234567)
    pack_into(order + "II", b, 24, 1700000000, 1)
    pack_into(order + "II", b, 36, 2, 2)
    pack_into(order + "III", b, 52, 0x89ABCDEF, 0x01234567, 0x89ABCDEF)
    pack_into(order + "II", b, 156, *((0, 5) if order == ">" else (5, 0)))  # events
    for n in range(3):  # the third disk has failed
        pack_into(order + "IIIII", b, 512 + 128 * n, n, 8, 16 * n, n, 6 if n < 2 else 1)
    pack_into(order + "IIIII", b, 3968, 1, 8, 16, 1, 6)
    pack_into(order + "I", b, 152, checksum(b, order))
    data = bytearray(data)
    off = (len(data) & ~0xFFFF) - 0x10000
    data[off : off + 4096] = b
    return data


with open("ext4.img", "rb") as f:
    inside = f.read() + bytes(128 << 10)  # a mirror's member: ext4, then metadata
end = len(inside)
save("md1.0-over-ext4", md1((end // 512 - 16) // 8 * 8 * 512, inside, 0))
save("md1.1", md1(0, bytes(8 * MIB), 2048))
save("md1.2", md1(4096, bytes(8 * MIB), 2048))
save("md0.90-over-ext4", md090(inside, "<"))
save("md0.90be-over-ext4", md090(inside, ">"))

d = bytearray(inside)
d[end - 1024 : end - 994] = b"Intel Raid ISM Cfg Sig. 1.3.00"
save("isw-over-ext4", d)

d = bytearray(inside)
d[end - 512 : end - 508] = b"\xde\x11\xde\x11"
d[end - 504 : end - 480] = b"LSI     12345678abcdefgh"
d[end - 480 : end - 472] = b"01.02.00"
save("ddf-over-ext4", d)


def pair(name, typ, val):
    n = pack(">I", len(name)) + name + bytes(-len(name) % 4)
    b = n + pack(">II", typ, 1) + val
    return pack(">II", len(b) + 8, 64) + b


def u64(v):
    return pack(">Q", v)


size = 72 * MIB
d = bytearray(size)
pairs = bytes([1, 1, 0, 0]) + pack(">II", 0, 1)
pairs += pair(b"version", 8, u64(5000)) + pair(b"name", 9, pack(">I", 4) + b"tank")
pairs += pair(b"state", 8, u64(0)) + pair(b"txg", 8, u64(4))
pairs += pair(b"pool_guid", 8, u64(1234567890123456789)) + pair(b"guid", 8, u64(78))
pairs += pack(">II", 0, 0)
for label in (0, 256 << 10, size - (512 << 10), size - (256 << 10)):
    d[label + 16384 : label + 16384 + len(pairs)] = pairs
    for i in range(32):
        pack_into("<QQQ", d, label + (128 << 10) + i * 4096, 0xBAB10C, 5000, 10 + i)
save("zfs", d)

d = bytearray(4 * MIB)
pack_into("<HH", d, 4096 + 16, 1025, 1024)
d[4096 + 24 : 4096 + 40] = bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")
d[4096 + 40 : 4096 + 56] = U[::-1]
d[4096 + 56 : 4096 + 72] = U
d[4096 + 72 : 4096 + 75] = b"lab"
pack_into("<QQHBB", d, 4096 + 104, 8, 1, 8, 0, 1)
save("bcachefs", d)

with open("swap.img", "rb") as f:
    d = bytearray(f.read())
d[4086:4096] = b"S1SUSPEND\0"
save("swsuspend", d)

#!/usr/bin/python3
"""A second reader of repositories, written from docs/formats/repository.md alone: the proof that the page is true.

Usage: read_repository.py FOLDER KEY list
       read_repository.py FOLDER KEY restore POINT DISK OUTPUT [--no-ids]
       read_repository.py FOLDER KEY catalog OUTPUT    the stream of the newest copy of a catalog

KEY is key-file:PATH, or recovery-key:PATH or passphrase:PATH (a file that holds the text). --no-ids leaves out the BLAKE3
hashes, which are slow in Python; the tags of the encryption are checked all the same. Exit status: 0 done, 1 refused.
"""
import hmac
import pathlib
import struct
import sys

import lz4.block
import nacl.bindings
import nacl.exceptions
import nacl.pwhash
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TAG = 16
ZERO_ID = bytes(32)


class Refused(Exception):
    """The repository, or the key, isn't what it should be."""


def require(condition, what):
    if not condition:
        raise Refused(what)


# ---- BLAKE3, from its specification (section 2) ----

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIXES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED_HASH = 1, 2, 4, 8, 16
MASK = 0xFFFFFFFF


def blake3_compress(value, words, counter, length, flags):
    v = list(value) + list(IV[:4]) + [counter & MASK, counter >> 32, length, flags]
    m = list(words)
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(MIXES):
            v[a] = (v[a] + v[b] + m[2 * i]) & MASK
            x = v[d] ^ v[a]
            v[d] = (x >> 16 | x << 16) & MASK
            v[c] = (v[c] + v[d]) & MASK
            x = v[b] ^ v[c]
            v[b] = (x >> 12 | x << 20) & MASK
            v[a] = (v[a] + v[b] + m[2 * i + 1]) & MASK
            x = v[d] ^ v[a]
            v[d] = (x >> 8 | x << 24) & MASK
            v[c] = (v[c] + v[d]) & MASK
            x = v[b] ^ v[c]
            v[b] = (x >> 7 | x << 25) & MASK
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def blake3(data, key=None):
    start = struct.unpack("<8I", key) if key else IV
    mode = KEYED_HASH if key else 0

    def chunk(number, piece):
        blocks = [piece[i:i + 64] for i in range(0, len(piece), 64)] or [b""]
        value = start
        for i, block in enumerate(blocks):
            flags = mode | (CHUNK_START if i == 0 else 0) | (CHUNK_END if i == len(blocks) - 1 else 0)
            node = (value, struct.unpack("<16I", block.ljust(64, b"\0")), number, len(block), flags)
            if i < len(blocks) - 1:
                value = blake3_compress(*node)
        return node

    def tree(first, piece):
        if len(piece) <= 1024:
            return chunk(first, piece)
        left = 1024
        while left * 2 < len(piece):
            left *= 2
        sides = blake3_compress(*tree(first, piece[:left])) + blake3_compress(*tree(first + left // 1024, piece[left:]))
        return (start, sides, 0, 64, mode | PARENT)

    value, words, counter, length, flags = tree(0, data)
    return struct.pack("<8I", *blake3_compress(value, words, counter, length, flags | ROOT))


# ---- Cryptography as the page names it ----

def hkdf(key, salt, info, length=32):
    extracted = hmac.digest(salt or bytes(32), key, "sha256")
    out, block = b"", b""
    for i in range(1, (length + 31) // 32 + 1):
        block = hmac.digest(extracted, block + info + bytes([i]), "sha256")
        out += block
    return out[:length]


def aead_open(key, nonce, aad, sealed, what):
    try:
        return AESGCM(key).decrypt(struct.pack("<QI", nonce, 0), sealed, aad or None)
    except InvalidTag:
        raise Refused(f"{what}: the tag is wrong") from None


class Fields:
    """Little-endian fields, one after another."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, size):
        require(self.at + size <= len(self.data), "cut short")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.raw(struct.calcsize("<" + form)))[0]

    def left(self):
        return len(self.data) - self.at


# ---- Keys (section 9) ----

def recovery_key_bytes(text):
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    text = "".join(c for c in text.upper() if not c.isspace() and c != "-").translate(str.maketrans("OIL", "011"))
    require(len(text) == 40 and all(c in alphabet for c in text), "no recovery key")
    bits = 0
    for group in range(8):
        values = [alphabet.index(c) for c in text[group * 5:group * 5 + 5]]
        check = (values[0] + 3 * values[1] + 5 * values[2] + 7 * values[3] + 11 * (group + 1)) % 31
        require(check == values[4], f"group {group + 1} is mistyped")
        for value in values[:4]:
            bits = bits << 5 | value
    return bits.to_bytes(20, "big")


def read_key(argument):
    kind, _, path = argument.partition(":")
    text = pathlib.Path(path).read_text()
    if kind == "passphrase":
        return 1, text.rstrip("\n").encode()
    if kind == "key-file":
        lines = [line for line in text.splitlines() if line.startswith("umbra-key-1 ")]
        require(lines, "no key file")
        return 2, bytes.fromhex(lines[0].split()[1])
    require(kind == "recovery-key", f"unknown kind of key {kind}")
    return 3, recovery_key_bytes(text)


class Slot:
    def __init__(self, data):
        fields = Fields(data)
        require(fields.raw(8) == b"UMBRAKS2" and fields.number("I") == 2, "no key slot")
        self.kind, self.repository, self.id = fields.number("I"), fields.raw(16), fields.raw(8)
        fields.number("q")
        self.epoch, self.passes, self.memory_kib = fields.number("I"), fields.number("I"), fields.number("I")
        self.salt, self.public_key, self.sealed_root = fields.raw(16), fields.raw(32), fields.raw(80)
        fields.raw(fields.number("I"))
        self.body, self.authenticity = data[:fields.at], fields.raw(32)

    def pair_of(self, kind, secret):
        """The key pair, when this is the slot of that key."""
        if kind != self.kind:
            return None
        if kind == 1:
            seed = nacl.pwhash.argon2id.kdf(32, secret, self.salt, opslimit=self.passes, memlimit=self.memory_kib * 1024)
        else:
            seed = hkdf(secret, self.salt, b"umbra key v2")
        public, private = nacl.bindings.crypto_box_seed_keypair(seed)
        return (public, private) if public == self.public_key else None


def open_ring(folder, kind, secret):
    """(epoch -> root key, key of the ids, hash of the header)"""
    slots = [Slot(path.read_bytes()) for path in sorted(folder.glob("keys/*.slot"))]
    newest = max((path.name[:8] for path in folder.glob("keys/*.ring")), default=None)
    require(newest, "no key ring")
    for slot in slots:
        pair = slot.pair_of(kind, secret)
        if pair is None:
            continue
        for path in sorted(folder.glob(f"keys/{newest}-?.ring")):
            try:
                return unlock(path.read_bytes(), slot, pair)
            except Refused as refusal:
                last = refusal
        raise last
    raise Refused("the key is wrong: it opens no slot")


def unlock(data, slot, pair):
    fields = Fields(data[:-32])
    require(fields.raw(8) == b"UMBRAKR2" and fields.number("I") == 2, "no key ring")
    epoch = fields.number("I")
    require(fields.raw(16) == slot.repository, "a key ring of another repository")
    fields.number("q")
    members, length = fields.number("I"), fields.number("I")
    sealed = {}
    for _ in range(members):
        member = fields.raw(8)
        sealed[member] = fields.raw(80)
    root_box = slot.sealed_root if slot.epoch == epoch else sealed.get(slot.id)
    require(root_box, "the key was removed before the keys were rotated")
    try:
        root = nacl.bindings.crypto_box_seal_open(root_box, *pair)
    except nacl.exceptions.CryptoError:
        raise Refused("the sealed root key was changed") from None
    aad = data[:fields.at]
    body = Fields(aead_open(hkdf(root, b"", b"umbra ring v2"), 0, aad, fields.raw(length), "key ring"))
    header_hash, id_key = body.raw(32), body.raw(32)
    roots = {}
    for _ in range(body.number("I")):
        number = body.number("I")
        roots[number] = body.raw(32)
    roots[epoch] = root
    require(slot.epoch in roots and slot.authenticity == hkdf(roots[slot.epoch], b"", b"umbra slot v2" + slot.body), "the slot was changed")
    return roots, id_key, header_hash


# ---- The repository ----

class Repository:
    def __init__(self, folder, key, check_ids):
        self.folder, self.check_ids = pathlib.Path(folder), check_ids
        header = (self.folder / "umbra-repository").read_bytes()
        self.header = dict(line.split(" ", 1) for line in header.decode().splitlines() if " " in line)
        require(int(self.header["compatible_version"]) <= 2 and self.header["aead_suite"] == "1", "unknown version or encryption")
        roots, self.id_key, header_hash = open_ring(self.folder, *read_key(key))
        self.data_keys = {epoch: hkdf(root, b"", b"umbra data key v2") for epoch, root in roots.items()}
        require(not check_ids or blake3(header) == header_hash, "another header")
        self.uuid = bytes.fromhex(self.header["repository_id"].replace("-", ""))
        self.chunk_size = int(self.header["chunk_size_bytes"])
        self.page_entries = int(self.header["map_page_entries"])
        self.places = {}
        for path in sorted(self.folder.glob("packs/*/*.pack")):
            self.read_footer(path)

    def object_key(self, epoch, salt, purpose, header, commitment, what):
        require(epoch in self.data_keys, f"{what}: unknown epoch")
        both = hkdf(self.data_keys[epoch], salt, purpose + header, 64)
        require(both[32:] == commitment, f"{what}: not made with these keys")
        return both[:32]

    def chunk_id(self, plain):
        if self.header["id_suite"] == "2":
            return hmac.digest(self.id_key, plain, "sha256")
        return blake3(plain, self.id_key)

    def read_footer(self, path):
        data = path.read_bytes()
        require(data[:8] == b"UMBRAPK2" and data[16:32] == self.uuid and data[32:48].hex() == path.stem, f"{path}: no pack of ours")
        epoch = struct.unpack("<I", data[92:96])[0]
        key = self.object_key(epoch, data[48:80], b"umbra pack v2", data[:96], data[96:128], path)
        trailer = Fields(data[-64:])
        count, _, offset, length = trailer.number("I"), trailer.number("I"), trailer.number("Q"), trailer.number("Q")
        fields = Fields(data[offset:offset + length])
        for _ in range(count):
            chunk, _ = fields.raw(32), fields.raw(32)
            at, stored, plain, codec, bases = (fields.number(form) for form in "IIIHH")
            require(bases == 0, f"{path}: a delta")
            self.places[chunk] = (path, key, at, stored, plain, codec)

    def chunk(self, chunk_id, length):
        require(chunk_id in self.places, f"chunk {chunk_id.hex()} is missing")
        path, key, at, stored, plain_length, codec = self.places[chunk_id]
        require(plain_length == length, f"chunk {chunk_id.hex()} has another length than its place")
        with path.open("rb") as pack:
            pack.seek(at)
            sealed = pack.read(stored)
        aad = chunk_id + struct.pack("<IHH", plain_length, codec, 0)
        data = aead_open(key, at, aad, sealed, f"chunk {chunk_id.hex()}")
        if codec == 1:
            data = zstandard.ZstdDecompressor().decompress(data, max_output_size=length)
        elif codec == 2:
            data = lz4.block.decompress(data, uncompressed_size=length)
        require(len(data) == length and (not self.check_ids or self.chunk_id(data) == chunk_id), f"chunk {chunk_id.hex()} is another")
        return data

    def point(self, point_id):
        """[(disk, capacity, page ids)]"""
        data = (self.folder / "points" / f"{point_id}.point").read_bytes()
        fields = Fields(data[:-32])
        require(fields.raw(8) == b"UMBRAPT2" and fields.number("I") == 2, "no recovery point")
        epoch, uuid, salt, length = fields.number("I"), fields.raw(16), fields.raw(32), fields.number("Q")
        require(uuid == self.uuid and fields.left() == 32 + length + TAG, "a recovery point of another repository or length")
        key = self.object_key(epoch, salt, b"umbra point v2", data[:72], fields.raw(32), "recovery point")
        body = Fields(aead_open(key, 0, b"", fields.raw(length + TAG), "recovery point"))
        manifest = body.raw(body.number("Q"))
        # recovery_point_id is field 1 of the manifest, which comes first: a tag, a length, the text.
        require(manifest[:2] == b"\x0a\x24" and manifest[2:38].decode() == point_id, "another recovery point")
        disks = []
        for _ in range(body.number("I")):
            name = body.raw(body.number("I")).decode()
            capacity, pages = body.number("Q"), body.number("Q")
            disks.append((name, capacity, [body.raw(32) for _ in range(pages)]))
        return disks

    def catalog(self, output):
        paths = sorted(self.folder.glob("catalogs/*.catalog"))
        require(paths, "no copy of a catalog")
        fields = Fields(paths[-1].read_bytes())
        header = fields.raw(144)
        require(header[:8] == b"UMBRACC1" and header[16:32] == self.uuid, "no copy of ours")
        epoch, sequence = struct.unpack("<I", header[12:16])[0], struct.unpack("<Q", header[72:80])[0]
        require(f"{sequence:016x}" == paths[-1].name[:16], "another copy")
        key = self.object_key(epoch, header[32:64], b"umbra catalog v1", header[:80], header[80:112], "copy of the catalog")
        number, last = 0, 0
        with open(output, "wb") as out:
            while not last:
                aad = fields.raw(12)
                stored, plain, codec, last = struct.unpack("<IIHH", aad)
                data = aead_open(key, number, aad, fields.raw(stored), f"segment {number}")
                fields.raw(32)
                if codec == 1:
                    data = zstandard.ZstdDecompressor().decompress(data, max_output_size=plain)
                elif codec == 2:
                    data = lz4.block.decompress(data, uncompressed_size=plain)
                require(len(data) == plain, f"segment {number} has another length")
                out.write(data)
                number += 1
        require(fields.left() == 0, "something follows the last segment")

    def restore(self, point_id, disk, output):
        found = [entry for entry in self.point(point_id) if entry[0] == disk]
        require(found, f"no disk {disk}")
        _, capacity, pages = found[0]
        chunks = (capacity + self.chunk_size - 1) // self.chunk_size
        with open(output, "wb") as out:
            out.truncate(capacity)
            for number, page in enumerate(pages):
                entries = min(self.page_entries, chunks - number * self.page_entries)
                if page == ZERO_ID:
                    continue
                ids = self.chunk(page, entries * 32)
                for i in range(entries):
                    chunk_id, at = ids[i * 32:i * 32 + 32], (number * self.page_entries + i) * self.chunk_size
                    if chunk_id != ZERO_ID:
                        out.seek(at)
                        out.write(self.chunk(chunk_id, min(self.chunk_size, capacity - at)))


def main(arguments):
    check_ids = "--no-ids" not in arguments
    arguments = [argument for argument in arguments if argument != "--no-ids"]
    if len(arguments) < 3 or len(arguments) != {"list": 3, "restore": 6, "catalog": 4}.get(arguments[2]):
        sys.exit(__doc__)
    try:
        repository = Repository(arguments[0], arguments[1], check_ids)
        if arguments[2] == "restore":
            repository.restore(*arguments[3:])
        elif arguments[2] == "catalog":
            repository.catalog(arguments[3])
        else:
            for path in sorted(repository.folder.glob("points/*.point")):
                for name, capacity, _ in repository.point(path.stem):
                    print(path.stem, name, capacity)
    except Refused as refusal:
        sys.exit(f"refused: {refusal}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Finds a chunk in a repository's files by docs/formats/repository.md, and damages it. Knows nothing of the code."""
import pathlib
import struct

TRAILER_BYTES = 64
SLOT = struct.Struct("<32s32sIIIHH")  # id, hash of the stored bytes, offset, stored length, plain length, codec, base count
CHUNK_STORED_MIN = 4096  # large enough that a flipped bit surely lies inside its data


def chunks_of(pack):
    """(id in hexadecimal, offset, stored length, plain length) of everything in a pack."""
    data = pathlib.Path(pack).read_bytes()
    count, _, footer, _ = struct.unpack_from("<IIQQ", data, len(data) - TRAILER_BYTES)
    at = footer
    for _ in range(count):
        chunk_id, _, offset, stored, plain, _, bases = SLOT.unpack_from(data, at)
        at += SLOT.size + 32 * bases
        yield chunk_id.hex(), offset, stored, plain


def some_chunk(repository, chunk_bytes):
    """(pack, id, offset, stored length) of a whole, well-filled chunk in the oldest pack: no map page is that long."""
    packs = sorted(pathlib.Path(repository).glob("packs/*/*.pack"), key=lambda path: path.stat().st_mtime_ns)
    for pack in packs:
        for chunk_id, offset, stored, plain in chunks_of(pack):
            if plain == chunk_bytes and stored >= CHUNK_STORED_MIN:
                return pack, chunk_id, offset, stored
    raise LookupError(f"no whole chunk in {len(packs)} packs of {repository}")


def flip_bit(path, offset):
    """Doing it twice undoes it."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))

"""Just enough HTTP/2 and gRPC, written by hand, to send what no well-behaved client sends.

Frames: RFC 9113; header block: RFC 7541, literals without indexing only.
"""
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """One header field, not indexed, not Huffman coded; both parts shorter than 127 bytes."""
    name, value = name.encode(), value.encode()
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def request_headers(method):
    fields = [(":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost"),
              ("content-type", "application/grpc"), ("te", "trailers")]
    return b"".join(literal(*field) for field in fields)


class Connection:
    """A unix socket on which HTTP/2 was begun."""

    def __init__(self, path, timeout_s=10):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        self.socket.connect(str(path))
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))

    def close(self):
        self.socket.close()

    def call(self, method, message_head, stream=1, end=True):
        """Sends a request whose body is exactly `message_head` (length prefix included)."""
        self.socket.sendall(frame(HEADERS, END_HEADERS, stream, request_headers(method)) +
                            frame(DATA, END_STREAM if end else 0, stream, message_head))

    def status(self, stream=1):
        """The gRPC status code of the answer, "reset" when the stream was, "closed" when the connection ended."""
        try:
            return self._status(stream)
        except ConnectionError:
            return "closed"

    def _status(self, stream):
        while True:
            head = self._read(9)
            if head is None:
                return "closed"
            length = int.from_bytes(head[:3], "big")
            kind, flags, number = head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
            payload = self._read(length) if length else b""
            if payload is None or kind == GOAWAY:
                return "closed"
            if kind == SETTINGS and not flags & ACK:
                self.socket.sendall(frame(SETTINGS, ACK, 0, b""))
            if kind == RST_STREAM and number == stream:
                return "reset"
            if kind == HEADERS and number == stream and flags & END_STREAM:
                return grpc_status(payload)

    def _read(self, count):
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except (ConnectionError, TimeoutError):
                return None
            if not part:
                return None
            data += part
        return data


def grpc_status(block):
    """The number that follows the plain text "grpc-status" in a header block."""
    at = block.find(b"grpc-status")
    if at < 0:
        return "unknown"
    at += len(b"grpc-status")
    return int(block[at + 1:at + 1 + block[at]])


def message(body):
    """A gRPC message: not compressed, its length, the body."""
    return b"\x00" + struct.pack(">I", len(body)) + body


def text_field(number, value):
    """A string field of a protobuf message, in its wire form; at most 127 bytes."""
    value = value.encode()
    return bytes([number << 3 | 2, len(value)]) + value

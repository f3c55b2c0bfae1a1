"""A client of HTTP/1.1 over TLS that can also do what no well-behaved client does."""
import json
import socket
import ssl


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name):
        """The first value, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:500]!r}"


class Closed(Exception):
    """The server closed the connection before an answer was whole."""


class Connection:
    """One connection; requests one after the other, or bytes as they are wanted."""

    def __init__(self, address, authority_pem, timeout_s=15, source=None, token=None):
        host, port = address.rsplit(":", 1)
        self.host = address
        context = ssl.create_default_context(cadata=authority_pem)
        plain = socket.create_connection((host, int(port)), timeout_s, source_address=(source, 0) if source else None)
        self.socket = context.wrap_socket(plain, server_hostname=host)
        self.buffer = b""
        self.token = token  # goes with every request that doesn't say otherwise

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_request(self, method, target, headers=(), body=None):
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}"]
        headers = list(headers)
        if self.token and not any(name.lower() in ("authorization", "cookie") for name, _ in headers):
            headers.append(("Authorization", f"Bearer {self.token}"))
        if body is not None:
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            if not any(name.lower() == "content-type" for name, _ in headers):
                headers.append(("Content-Type", "application/json"))
            headers.append(("Content-Length", len(body)))
        lines += [f"{name}: {value}" for name, value in headers]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))

    def _fill(self):
        data = self.socket.recv(65536)
        if not data:
            raise Closed
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self._fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode()

    def take(self, count):
        while len(self.buffer) < count:
            self._fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_head(self):
        status = int(self.line().split(" ", 2)[1])
        headers = []
        while line := self.line():
            name, value = line.split(":", 1)
            headers.append((name, value.strip()))
        return Answer(status, headers, b"")

    def chunk(self):
        """The next chunk of a body; empty: the last one."""
        data = self.take(int(self.line(), 16))
        self.line()
        return data

    def read_answer(self, method="GET"):
        answer = self.read_head()
        if method == "HEAD" or answer.status in (204, 304):
            return answer
        if answer.header("Transfer-Encoding") == "chunked":
            while data := self.chunk():
                answer.body += data
        else:
            answer.body = self.take(int(answer.header("Content-Length")))
        return answer

    def ask(self, method, target, headers=(), body=None):
        self.send_request(method, target, headers, body)
        return self.read_answer(method)


class Events:
    """An open event stream."""

    def __init__(self, connection, target, headers=()):
        self.connection = connection
        connection.send_request("GET", target, headers)
        self.head = connection.read_head()
        self.text = ""

    def next(self):
        """(id, name, data) of the next event, comments left out; None at the end of the stream."""
        while True:
            while "\n\n" not in self.text:
                data = self.connection.chunk()
                if not data:
                    return None
                self.text += data.decode()
            block, self.text = self.text.split("\n\n", 1)
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
            if "data" in fields:
                return fields.get("id"), fields.get("event"), json.loads(fields["data"])

"""What comes in from outside: enrolment tokens that are wrong or used, and bytes that are no protocol. The daemon stays as it is."""
import os
import subprocess
import tempfile

import grpc_wire
from stack import Stack, wait_for
from world import EndToEndTest, tcp_connect

INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 3, 5, 8, 12, 13
# gRPC answers a message that it can't read without calling the service; its versions differ in the code.
NOT_READABLE = (INTERNAL, INVALID_ARGUMENT, UNIMPLEMENTED, "reset")
GET_JOB = "/umbra.v1.JobService/GetJob"
CREATE_JOB = "/umbra.v1.JobService/CreateJob"


class Ports(EndToEndTest):
    def enrol(self, token):
        """A new agent that tries to enrol: its exit status and what it said."""
        folder = tempfile.mkdtemp(dir=self.world.root, prefix="a.")
        other = Stack(folder, self.world.build, self.lab.uri)
        command = [str(other.agent.binary), "enrol", "--data-dir", folder + "/agent", "--daemon",
                   self.stack.addresses()["enrolment_address"], "--token", token]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout + done.stderr

    def hosts(self):
        return len(self.stack.umbra("host", "list").objects)

    def test_wrong_token_is_refused(self):
        before = self.hosts()
        token = self.stack.new_token()
        wrong = token[:-4] + ("aaaa" if token[-4:] != "aaaa" else "bbbb")
        status, log = self.enrol(wrong)
        self.assertNotEqual(status, 0)
        self.assertIn("token", log.lower())
        status, log = self.enrol("nonsense")
        self.assertNotEqual(status, 0)
        self.assertEqual(self.hosts(), before)

    def test_used_token_is_refused(self):
        token = self.stack.new_token()
        other = Stack(tempfile.mkdtemp(dir=self.world.root, prefix="b."), self.world.build, self.lab.uri)
        self.addCleanup(other.agent.stop)
        before = self.hosts()
        other.agent.launch(["--data-dir", other.agent_data, "--daemon", self.stack.addresses()["enrolment_address"], "--token", token,
                            "--hypervisor", "libvirt", "--libvirt-uri", self.lab.uri, "--host-name", "second"])
        other.agent.wait_ready(lambda: self.hosts() == before + 1, 30, "the token's first use should enrol a host")
        other.agent.stop()
        status, log = self.enrol(token)
        self.assertNotEqual(status, 0)
        self.assertIn("ENROLMENT_TOKEN_INVALID", log)
        self.assertEqual(self.hosts(), before + 1)
        self.assertEqual(self.stack.umbra("host", "delete", "second", "--yes").status, 0)
        self.assertEqual(self.hosts(), before)

    def test_bytes_that_are_no_protocol(self):
        pid = self.stack.daemon.pid()
        for port in ("enrolment_address", "agent_address"):
            address = self.stack.addresses()[port]
            for junk in (os.urandom(100_000), b"GET / HTTP/1.1\r\n\r\n", grpc_wire.PREFACE + os.urandom(5000),
                         b"\x16\x03\x01\xff\xff" + os.urandom(70_000), b"\x16\x03\x01", b""):
                self.send(address, junk)
        self.assertEqual(self.stack.daemon.pid(), pid)
        self.assertEqual(self.stack.umbra("vm", "list").status, 0)
        self.assertTrue(self.stack.online())

    def send(self, address, junk):
        """Also keeps one connection open without a word; the daemon must not care."""
        connection = tcp_connect(address)
        self.addCleanup(connection.close)
        try:
            connection.sendall(junk)
        except ConnectionError:
            pass

    def call(self, method, body):
        connection = grpc_wire.Connection(self.stack.socket)
        try:
            connection.call(method, body)
            return connection.status()
        finally:
            connection.close()

    def test_oversized_and_malformed_messages(self):
        pid = self.stack.daemon.pid()
        known_good = grpc_wire.message(grpc_wire.text_field(1, "jobs/00000000-0000-4000-8000-000000000000"))
        self.assertEqual(self.call(GET_JOB, known_good), NOT_FOUND)
        huge = b"\x00\x7f\xff\xff\xff" + bytes(100)
        self.assertIn(self.call(GET_JOB, huge), (RESOURCE_EXHAUSTED, *NOT_READABLE))
        broken = grpc_wire.message(b"\x0a\x7fshort")
        self.assertIn(self.call(GET_JOB, broken), NOT_READABLE)
        self.assertIn(self.call(CREATE_JOB, grpc_wire.message(bytes([0xFF]) * 5000)), NOT_READABLE)
        self.assertEqual(self.call(CREATE_JOB, grpc_wire.message(b"")), INVALID_ARGUMENT)
        self.assertEqual(self.call("/umbra.v1.JobService/NoSuchMethod", known_good), UNIMPLEMENTED)
        connection = grpc_wire.Connection(self.stack.socket)
        connection.socket.sendall(grpc_wire.frame(grpc_wire.HEADERS, 5, 1, os.urandom(2000)))
        self.assertNotEqual(connection.status(), 0)
        connection.close()
        self.assertEqual(self.stack.daemon.pid(), pid)
        self.assertEqual(self.stack.umbra("vm", "list").status, 0)

    def test_hanging_up_in_the_middle_of_a_stream(self):
        for _ in range(20):
            connection = grpc_wire.Connection(self.stack.socket)
            connection.call("/umbra.v1.EventService/WatchEvents", grpc_wire.message(b""), end=False)
            connection.close()
        self.assertEqual(self.stack.umbra("vm", "list").status, 0)

    def test_socket_is_for_its_owner_only(self):
        mode = self.stack.socket.stat().st_mode & 0o777
        self.assertEqual(mode & 0o007, 0, oct(mode))
        self.assertEqual(self.stack.daemon_data.stat().st_mode & 0o002, 0)

    def test_agent_comes_back_after_a_cut_link(self):
        self.stack.daemon.kill()
        self.assertIsNotNone(self.stack.agent.pid())
        self.stack.start_daemon()
        wait_for(self.stack.online, 60, "the agent should reconnect")

"""A backup that fails, and one that works again, reach a webhook and a mailbox; a daemon that is killed loses and doubles nothing."""
import base64
import hashlib
import hmac
import http.server
import json
import socketserver
import threading
import time

from stack import wait_for
from world import GUEST, EndToEndTest

KEY = "e2e-0123456789abcdef0123456789abcdef"


class Receiver:
    """A webhook's other side: checks each signature, keeps what came, and can refuse."""

    def __init__(self):
        self.messages, self.bad, self.refuse, self.attempts = [], [], False, []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fields = dict(part.split("=", 1) for part in self.headers["Umbra-Signature"].split(","))
                expected = hmac.new(KEY.encode(), fields["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
                if not hmac.compare_digest(expected, fields["v1"]) or abs(time.time() - int(fields["t"])) > 60:
                    receiver.bad.append(fields)
                message = json.loads(body)
                receiver.attempts.append(message["id"])
                if not receiver.refuse and message["id"] == self.headers["Umbra-Delivery"]:
                    receiver.messages.append(message)
                self.send_response(503 if receiver.refuse else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/umbra"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def notices(self):
        return [notice for message in self.messages for notice in message.get("notices", []) if notice["topic"] == "failure"]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Mailbox:
    """A mail server without TLS, which is enough here: the unit tests have the others."""

    def __init__(self):
        self.mails = []
        mailbox = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.wfile.write(b"220 mailbox\r\n")
                while line := self.rfile.readline():
                    word = line.strip().upper()
                    if word == b"DATA":
                        self.wfile.write(b"354 go\r\n")
                        text = b""
                        while (part := self.rfile.readline()) != b".\r\n":
                            text += part
                        mailbox.mails.append(text.decode("ascii"))
                    self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                    if word == b"QUIT":
                        return

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Notifications(EndToEndTest):
    def setUp(self):
        super().setUp()
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)
        secrets = self.stack.daemon_data / "secrets"
        secrets.mkdir(mode=0o700, exist_ok=True)
        (secrets / "hook").write_text(KEY + "\n")

    def tearDown(self):
        for channel in self.stack.umbra("notification", "channel", "list").objects:
            self.stack.umbra("notification", "channel", "remove", channel["name"].split("/")[1], "--yes")
        super().tearDown()

    def add_hook(self, *more):
        added = self.stack.umbra("notification", "channel", "add", "webhook", "hook", "--url", self.receiver.url, "--secret", "hook",
                                 "--window", "1s", *more)
        self.assertEqual(added.status, 0, str(added))
        self.assertNotIn(KEY, str(added))

    def fail_a_backup(self):
        """One whose agent is killed while it copies."""
        job = self.world.hold_mid_copy()
        self.stack.agent.kill()  # and gone, with its lock
        self.world.resume_daemon()
        self.stack.start_agent()
        self.assertEqual(self.world.ended(job)["state"], "STATE_FAILED")
        self.world.wait_ready()

    def test_01_a_failure_and_its_end_reach_webhook_and_mailbox(self):
        mailbox = Mailbox()
        self.addCleanup(mailbox.close)
        self.add_hook()
        self.stack.umbra("notification", "channel", "add", "mail", "ops", "--server", "127.0.0.1", "--port", mailbox.port, "--security",
                         "none", "--from", "umbra@example.org", "--to", "somebody@example.org", "--window", "1s")
        moved = self.stack.umbra("notification", "channel", "update", "ops", "--to", "ops@example.org")
        self.assertEqual((moved.status, moved.last["smtp"]["to"], moved.last["smtp"]["port"]), (0, ["ops@example.org"], mailbox.port))
        self.assertEqual(self.stack.umbra("notification", "channel", "update", "ops", "--url", self.receiver.url).status, 2)
        self.assertEqual(self.stack.umbra("notification", "channel", "test", "hook").status, 0)
        self.assertEqual(self.stack.umbra("notification", "channel", "test", "ops").status, 0)
        self.fail_a_backup()
        wait_for(lambda: [n for n in self.receiver.notices() if n["phase"] == "started"], 60, "the failure should be told")
        failure = self.receiver.notices()[0]
        self.assertEqual((failure["topic"], failure["title"]), ("failure", GUEST))
        self.assertEqual(failure["subject"], self.stack.vm(GUEST)["name"])
        self.assert_succeeded(self.world.backup())
        wait_for(lambda: [n for n in self.receiver.notices() if n["phase"] == "ended"], 60, "its end should be told")
        self.assertEqual(len(self.receiver.notices()), 2)
        self.assertEqual(self.receiver.bad, [])
        wait_for(lambda: len(mailbox.mails) >= 3, 60, "mail should come")
        failed = next(mail for mail in mailbox.mails if "1 failure" in mail and "over" not in mail)
        self.assertIn(GUEST, base64.b64decode(failed.split("\r\n\r\n", 1)[1]).decode())

    def test_02_a_killed_daemon_sends_what_it_owes_once(self):
        self.add_hook()
        self.receiver.refuse = True
        self.fail_a_backup()
        wait_for(lambda: self.receiver.attempts, 60, "the failure should be tried to be told")
        self.stack.daemon.kill()
        self.receiver.refuse = False
        self.stack.start_daemon()
        self.world.wait_ready()
        wait_for(lambda: self.receiver.messages, 120, "the message should come after the restart")
        time.sleep(3)
        self.assertEqual(len(self.receiver.messages), 1, "and come once")
        self.assertEqual(set(self.receiver.attempts), {self.receiver.messages[0]["id"]}, "under one id")
        listed = self.stack.umbra("notification", "list", "--channel", "hook").objects
        self.assertEqual([entry["state"] for entry in listed], ["STATE_DELIVERED"])
        self.assert_succeeded(self.world.backup())

#!/usr/bin/python3
"""Proves with the real programs, over real TLS, that an agent's certificate is renewed while it works, that deaths of either program
around it lock nobody out, also not when the daemon's catalog is put back to before it, and that the certificate of the HTTPS port is
changed by SIGHUP while event streams go on. The hypervisor is simulated.

Usage: test_certificates.py BUILD [unittest's arguments]
"""
import hashlib
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]
from client import Connection, Events  # noqa: E402
from test_rest import RestStack  # noqa: E402
from stack import wait_for  # noqa: E402

PEM = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.S)


def fingerprint(pem):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


class RenewalTest(unittest.TestCase):
    def start(self, lifetime_s):
        """With certificates of that life: the agent asks for the next one when some two thirds of it are over."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ucert.", dir="/tmp"))
        self.stack = CertificateStack(self.folder, BUILD, "")
        self.stack.lifetime_s = lifetime_s
        self.addCleanup(shutil.rmtree, self.folder)
        self.addCleanup(self.stack.stop)
        self.stack.start_daemon()
        self.stack.token = self.stack.make_token()
        self.stack.start_agent()

    def restart_agent(self):
        """With its machine made anew."""
        shutil.rmtree(self.stack.agent_data / "simulated")
        self.stack.start_agent()

    def present(self):
        """Fingerprint of the certificate in the agent's identity, which is whole whenever one looks."""
        return fingerprint(PEM.search((self.stack.agent_data / "identity.pem").read_text()).group(0))

    def wait_renewed(self, before):
        wait_for(lambda: self.present() != before, self.stack.lifetime_s, "the agent should have got a new certificate", pause_s=0.01)
        return self.present()

    def logged(self, program, text):
        return (self.folder / f"{program}.log").read_text(errors="replace").count(text)

    def test_a_backup_goes_on_while_the_certificate_is_renewed(self):
        self.start(24)
        first, begin = self.present(), time.monotonic()
        self.stack.wait_vm("guest")
        backup = self.stack.follow("backup", "run", "guest", "--allow-crash-consistent", "--upload-mib-per-second", 1)
        self.assertIsNotNone(backup.until(lambda job: job.get("phase") == "PHASE_TRANSFERRING"))
        renewed = self.wait_renewed(first)
        wait_for(lambda: self.logged("umbrad", "new certificate in use"), 20, "the data connections should show the new one")
        done = backup.result()
        self.assertEqual((done.status, done.last.get("state")), (0, "STATE_SUCCEEDED"), done)
        self.assertEqual(self.logged("umbrad", "agent offline"), 0, "the link stayed")
        events = self.stack.get("/v1/events?pageSize=1000").json()["events"]
        self.assertEqual(sum(event["type"] == "HOST_CERTIFICATE_RENEWED" for event in events), 1)
        # Only the new one opens anything: the first is over.
        time.sleep(max(0, begin + 25 - time.monotonic()))
        self.stack.agent.kill()
        self.stack.daemon.kill()
        self.stack.start_daemon()
        self.restart_agent()
        self.assertIn(renewed, (self.present(), fingerprint(PEM.search((self.stack.agent_data / "identity-before.pem").read_text()).group(0))))

    def test_a_daemon_whose_catalog_is_from_before_takes_the_agent_back(self):
        self.start(60)
        first = self.present()
        saved = self.folder / "saved"
        self.stack.daemon.stop()
        shutil.copytree(self.stack.daemon_data, saved)
        self.stack.start_daemon()
        renewed = self.wait_renewed(first)
        self.stack.agent.kill()  # in the same moment
        self.restart_agent()
        self.assertEqual(self.logged("umbrad", "new certificate in use"), 1)
        self.stack.daemon.kill()
        for file in self.stack.daemon_data.glob("catalog.db*"):
            file.unlink()
        for file in saved.glob("catalog.db*"):
            shutil.copy(file, self.stack.daemon_data)
        self.stack.start_daemon()
        wait_for(self.stack.online, 20, "the agent should show the certificate before")
        self.assertGreater(self.logged("umbra-agent", "certificate refused, the other one is tried"), 0)
        again = self.wait_renewed(renewed)  # late as it is, at once
        self.assertNotIn(again, (first, renewed))
        self.stack.daemon.kill()
        self.stack.start_daemon()
        wait_for(self.stack.online, 20, "the agent should be back with the newest one")


class CertificateStack(RestStack):
    def __init__(self, *args):
        super().__init__(*args)
        self.heartbeat, self.inventory_seconds = "1s", 1

    def _new_config(self):
        return super()._new_config().replace("[agents]\n", f'[agents]\ncertificate_lifetime = "{self.lifetime_s}s"\n')

    def hypervisor_flags(self):  # half of the disk is noise: 30 s at 1 MiB a second
        return ["--hypervisor", "simulated", "--simulated-vm", "guest=60"]


class WebStack(RestStack):
    def _new_config(self):
        return super()._new_config() + f'certificate = "{self.folder}/web.pem"\nkey = "{self.folder}/web.key"\n'


class HttpsCertificateTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ucert.", dir="/tmp"))
        self.stack = WebStack(self.folder, BUILD, "")
        self.addCleanup(shutil.rmtree, self.folder)
        self.addCleanup(self.stack.stop)

    def make(self, name):
        """A certificate for 127.0.0.1 that vouches for itself."""
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", self.folder / f"{name}.key",
                        "-out", self.folder / f"{name}.pem"], check=True, capture_output=True)
        return (self.folder / f"{name}.pem").read_text()

    def install(self, certificate, key):
        shutil.copy(self.folder / f"{certificate}.pem", self.folder / "web.pem")
        shutil.copy(self.folder / f"{key}.key", self.folder / "web.key")

    def reload(self, expected):
        before = self.stack.daemon.log.read_text(errors="replace").count(expected)
        self.stack.daemon.signal(signal.SIGHUP)
        wait_for(lambda: self.stack.daemon.log.read_text(errors="replace").count(expected) > before, 20, expected)

    def connect(self, authority_pem):
        return Connection(self.stack.addresses()["http_address"], authority_pem, token=self.stack.token)

    def shown(self):
        host, port = self.stack.addresses()["http_address"].rsplit(":", 1)
        return fingerprint(ssl.get_server_certificate((host, int(port))))

    def test_sighup_changes_it_while_streams_go_on(self):
        first, second = self.make("first"), self.make("second")
        self.install("first", "first")
        self.stack.start_daemon()
        self.stack.token = self.stack.make_token()
        with self.connect(first) as connection:
            events = Events(connection, "/v1/events:watch?afterSequence=-1")
            self.assertEqual(events.head.status, 200)
            self.install("second", "second")
            self.assertEqual(self.shown(), fingerprint(first))
            self.reload("certificate reloaded")
            self.assertEqual(self.shown(), fingerprint(second))
            with self.assertRaises(ssl.SSLError):
                self.connect(first)
            with self.connect(second) as newer:
                self.assertEqual(newer.ask("GET", "/v1/repositories").status, 200)
            # A key of another certificate, as between two copies: what was shown before is shown on.
            self.install("first", "second")
            self.reload("certificate not reloaded")
            self.assertEqual(self.shown(), fingerprint(second))
            self.install("first", "first")
            self.reload("certificate reloaded")
            self.assertEqual(self.shown(), fingerprint(first))
            # Something happens, and the stream from before all that tells it.
            self.assertEqual(self.stack.umbra("repository", "verify", "--watch").status, 0)
            self.assertEqual(events.next()[2]["type"], "JOB_STATE_CHANGED")


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)

#!/usr/bin/python3
"""Proves docs/api.md: its configuration makes a daemon, and every line of its shell blocks does, from top to bottom, what it says. The
programs are the real ones; the hypervisor is simulated.

Usage: test_document.py BUILD [unittest's arguments]
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]
from test_rest import REPO, RestStack  # noqa: E402

DOCUMENT = REPO / "docs/api.md"
# Stand before the shell blocks: a failure anywhere ends the walk and is named. A watch that doesn't end would be seen as one, too.
PROLOGUE = "set -euo pipefail\n"


def blocks():
    """(language, text, line) of every block."""
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", DOCUMENT.read_text(), re.S | re.M):
        yield found.group(1), found.group(2), DOCUMENT.read_text()[:found.start()].count("\n") + 2


class DocumentStack(RestStack):
    def _new_config(self):
        """The document's own, on a port that is free."""
        toml = "".join(text for language, text, _ in blocks() if language == "toml")
        assert "127.0.0.1:7443" in toml
        return super()._new_config().split("[http]")[0] + toml.replace("7443", str(self.port))

    def hypervisor_flags(self):
        return ["--hypervisor", "simulated", "--simulated-vm", "app01=4"]


class DocumentTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="udoc.", dir="/tmp"))
        cls.stack = DocumentStack(cls.folder, BUILD, "")
        cls.stack.start_daemon()
        cls.bin = cls.folder / "bin"
        cls.bin.mkdir()
        cls.put("umbra", f'exec {cls.stack.cli} --socket {cls.stack.socket} "$@"')
        agent = f"{cls.stack.agent.binary} --data-dir {cls.stack.agent_data} --inventory-seconds 1 " + " ".join(cls.stack.hypervisor_flags())
        cls.put("umbra-agent", f'mkdir -p {cls.stack.agent_data}; exec {agent} "$@"')
        cls.put("systemctl", f'[[ $* == "start umbra-agent" ]]; {agent} > {cls.folder}/umbra-agent.log 2>&1 & echo $! > {cls.folder}/agent.pid')

    @classmethod
    def tearDownClass(cls):
        pid = cls.folder / "agent.pid"
        if pid.exists():
            subprocess.run(["kill", pid.read_text().strip()], check=False)
        cls.stack.stop()
        shutil.rmtree(cls.folder)

    @classmethod
    def put(cls, name, text):
        (cls.bin / name).write_text(f"#!/bin/bash\nset -e\n{text}\n")
        (cls.bin / name).chmod(0o755)

    def script(self):
        """All shell blocks; each says where it begins, so that the last such line of the output names one that failed."""
        text = PROLOGUE
        for language, block, line in blocks():
            self.assertIn(language, ("sh", "toml", "json"), f"docs/api.md:{line}: what is this block?")
            if language == "sh":
                text += f"echo '== docs/api.md:{line}'\n{block}"
        return text.replace("/var/lib/umbra", str(self.stack.daemon_data)).replace("localhost:7443", f"localhost:{self.stack.port}")

    def test_every_line_of_it(self):
        environment = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(self.folder)}
        ran = subprocess.run(["bash", "-c", self.script()], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, timeout=200, check=False)
        self.assertEqual(ran.returncode, 0, ran.stdout[-4000:] + ran.stderr[-4000:])
        kinds = {key for job in self.stack.umbra("job", "list", "--limit", 0).objects for key in ("backup", "restore", "verify") if key in job}
        self.assertEqual(kinds, {"backup", "restore", "verify"})


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)

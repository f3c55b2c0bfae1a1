"""A running guest and a service of its host in one set: both stand still together, and both come back, the service's database whole."""
import pathlib
import shutil
import tempfile

from row_service import RowService, check_rows
from stack import wait_for
from world import GUEST, EndToEndTest


class FileSetTest(EndToEndTest):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="ufiles.", dir="/tmp"))
        self.service = RowService(self.root / "service")
        self.service.start()
        self.stack.agent.stop()
        config = self.root / "agent.toml"
        config.write_text(self.service.file_set())
        self.stack.start_agent("--config", config)
        self.world.wait_ready()
        wait_for(lambda: self.stack.umbra("file-set", "list").objects, 20, "the file set should be in the inventory")

    def tearDown(self):
        self.service.stop()
        self.stack.agent.stop()
        self.stack.start_agent()
        self.world.wait_ready()
        shutil.rmtree(self.root, ignore_errors=True)
        super().tearDown()

    def test_a_guest_and_a_service_of_its_host(self):
        result = self.stack.umbra("backup", "run", GUEST, "--file-set", "shop", "--watch")
        self.assert_succeeded(result)
        self.assertEqual(len(result.last["recoveryPoints"]), 2)
        self.assertEqual(self.service.events(), ["freeze", "thaw"])
        self.assertTrue(self.service.writes(), "it goes on")
        self.assertTrue(self.world.writes(), "so does the guest")
        point = self.stack.umbra("recovery-point", "list", "--file-set", "shop").last
        self.assertGreater(float(point["freezeDuration"].removesuffix("s")), 0)
        target = self.root / "restored"
        self.assert_succeeded(self.stack.umbra("restore", "run", point["name"], "--target-folder", target, "--path", self.service.data, "--watch"))
        self.assertEqual(check_rows(target / "rows.db"), self.service.rows_at_freeze())
        self.assertEqual(self.stack.umbra("recovery-point", "list", "--vm", GUEST, "--limit", 1).last["job"], point["job"])

    def test_a_guest_is_thawed_when_the_service_refuses(self):
        before = {point["name"] for point in self.stack.points()}
        self.service.hook.write_text('#!/bin/sh\n[ "$UMBRA_EVENT" = freeze ] && exit 1\nexit 0\n')
        result = self.stack.umbra("backup", "run", GUEST, "--file-set", "shop", "--watch")
        self.assertEqual(result.last["state"], "STATE_FAILED", result)
        self.assertIn("freeze", result.message)
        self.assertFalse(self.world.lab.frozen(GUEST))
        self.assertTrue(self.world.writes(), "the guest goes on")
        self.assertEqual({point["name"] for point in self.stack.points()}, before, "all or none")

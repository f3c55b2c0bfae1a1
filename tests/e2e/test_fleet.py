"""A small fleet of simulated agents on a schedule: agents die, links are cut, the daemon is killed, and nothing is lost or doubled."""
import unittest

from fleet import Fleet, Records
from stack import Stack, wait_for
import world

AGENTS, VMS = 20, 5


class FleetOnASchedule(unittest.TestCase):
    def setUp(self):
        self.stack = Stack(world.WORLD.root / "fleet", world.WORLD.build, "")
        self.stack.heartbeat, self.stack.lease = "1s", "10s"
        self.addCleanup(self.stack.stop)
        self.stack.start_daemon()
        self.fleet = Fleet(self.stack, world.WORLD.build, AGENTS, VMS)
        self.addCleanup(self.fleet.stop)
        self.records = Records(self.stack)

    def test_nothing_is_lost_or_doubled(self):
        self.fleet.start("--die", "0.1", "--cut", "0.05", "--slow", "0.1", "--slow-step", "0.2", "--down", "1")
        self.fleet.ask("start")
        self.fleet.wait_connected(30)
        self.fleet.wait_inventory(30)
        made = self.stack.umbra("policy", "create", "nightly", "--select", "all", "--schedule", "every 15 seconds", "--retries", "20",
                                "--retry-after", "1s", "--no-saved-state")
        self.assertEqual(made.status, 0, str(made))
        wait_for(lambda: self.records.states("nightly").get("succeeded", 0) >= AGENTS * VMS // 2, 90, "half of a run should succeed")
        self.stack.daemon.kill()
        self.stack.start_daemon()
        self.fleet.wait_connected(60)
        wait_for(lambda: self.records.states("nightly").get("succeeded", 0) >= AGENTS * VMS * 2, 120, "two runs should succeed")
        self.fleet.ask("storm", 1)
        self.assertTrue(self.stack.umbra("policy", "pause", "nightly").last["paused"])
        wait_for(lambda: self.records.active("nightly") == 0, 120, "all jobs should end", pause_s=0.2)
        stats = self.fleet.stats()
        self.assertGreater(stats["deaths"], 0)
        self.assertGreater(stats["cuts"], 0)
        self.assertEqual(stats["overlaps"], 0, "no machine is in two jobs at once")
        self.assertEqual(self.records.faults("nightly", AGENTS * VMS, self.fleet.committed_points()), [])
        self.assertEqual(set(self.records.states("nightly")), {"succeeded"}, stats)
        wait_for(lambda: self.fleet.stats()["connected"] == AGENTS, 60, "all agents should come back")
        verified = self.stack.umbra("repository", "verify", "--watch")
        self.assertEqual(verified.status, 0, str(verified))

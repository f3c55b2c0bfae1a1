"""umbra-agent killed while it deals with a real Pacemaker, and started again: the resource is online and has no setting of ours.

The machine is real; what the cluster starts and stops under its name is only a file (deploy/lab/cluster).
"""
import pathlib
import shutil
import subprocess
import unittest
import xml.etree.ElementTree as ElementTree

import points
import walk
from stack import Stack, wait_for
from world import ENDED
from walk import WalkTest, add_tests

CLUSTER = points.REPO / "deploy/lab/cluster"
PROGRAMS = ("corosync", "pacemakerd", "crm_mon", "crm_resource", "cibadmin")


MACHINE = "ha"
RESTORED = ("agent.cluster.ended",)  # the machine is the restored one, and off


class ClusteredStack(Stack):
    """Both daemons run as on the cluster's node, where Pacemaker's tools find their cluster."""

    def __init__(self, folder, lab, cluster_root):
        super().__init__(folder, walk.Options.build, lab.uri)
        self.heartbeat, self.lease, self.inventory_seconds = "1s", "10s", 1
        for daemon in (self.daemon, self.agent):
            program = pathlib.Path(folder) / "bin" / daemon.name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(f'#!/bin/sh\nexec {CLUSTER} --root {cluster_root} enter node1 {daemon.binary} "$@"\n')
            program.chmod(0o755)
            daemon.binary = program

    def hypervisor_flags(self):
        return [*super().hypervisor_flags(), "--cluster", "pacemaker"]


class ClusteredWorld:
    """A cluster of one node, and a daemon and an agent on it; the lab is that of the other walks."""

    def __init__(self, shared):
        self.lab = shared.lab
        self.root = shared.root / "ha"
        self.cluster_root = self.root / "cluster"
        self.stack = ClusteredStack(self.root / "stack", self.lab, self.cluster_root)
        self.ended = lambda job: wait_for(lambda: self._ended(job), 90, f"{job} should end", pause_s=0.1)

    def start(self):
        self.cluster("start", 1)
        self.lab.create(MACHINE, "--nic", "none")
        self.cluster("add-vm", MACHINE)
        self.stack.start_daemon()
        self.stack.start_agent()
        self.lab.wait_agent(MACHINE)
        self.stack.wait_vm(MACHINE, lambda vm: vm.get("mechanism") == "BACKUP_MECHANISM_CHILD_SNAPSHOT")

    def stop(self):
        self.stack.stop()
        self.cluster("stop")
        if self.lab.exists(MACHINE):
            self.lab.destroy(MACHINE)

    def _ended(self, job):
        now = self.stack.job(job)
        return now if now.get("state") in ENDED else None

    def cluster(self, *args):
        done = subprocess.run([str(CLUSTER), "--root", str(self.cluster_root), *map(str, args)], capture_output=True, text=True,
                              timeout=150, check=True, stdin=subprocess.DEVNULL)
        return done.stdout

    def resource(self):
        """Role of the machine's resource, whether the cluster manages it, and its own settings."""
        status = ElementTree.fromstring(self.cluster("enter", "node1", "crm_mon", "-1r", "--output-as=xml"))
        cib = ElementTree.fromstring(self.cluster("enter", "node1", "cibadmin", "--query", "--scope", "resources"))
        settings = {pair.get("name"): pair.get("value") for pair in cib.findall(".//meta_attributes/nvpair")}
        resource = status.find(f".//resource[@id='vm-{MACHINE}']")
        return resource.get("role"), resource.get("managed"), settings


@unittest.skipUnless(all(shutil.which(program) for program in PROGRAMS), "Pacemaker is not installed: deploy/install-deps --lab")
class AgentWithACluster(WalkTest):
    clean_after = False

    @classmethod
    def setUpClass(cls):
        usage = subprocess.run([f"{walk.Options.build}/server/cli/umbra", "restore", "run", "--help"], capture_output=True, text=True, check=True)
        if "--take-cluster-offline" not in usage.stdout:
            raise unittest.SkipTest("this build's command line can't ask for it: tests/unit/agent/cluster has these points")
        cls.own = ClusteredWorld(walk.shared_lab())
        cls.addClassCleanup(cls.own.stop)
        cls.own.start()
        cls.before = cls.own.resource()
        point = cls.own.stack.umbra("backup", "run", MACHINE, "--watch").last["recoveryPoints"][0]
        cls.command = ("restore", "run", point, "--in-place", "--yes", "--take-cluster-offline")

    @property
    def world(self):
        return self.own

    def setUp(self):
        self.stack.agent.stop()

    def walk(self, name):
        state = self.lab.state(MACHINE)
        self.stack.start_agent(env={"UMBRA_CRASH_POINT": name})
        self.stack.wait_vm(MACHINE)
        before = self.point_names()
        job = self.stack.umbra(*self.command).last["name"]
        self.wait_death(self.stack.agent, name)
        self.stack.start_agent()
        self.assert_ended(self.world.ended(job), before, succeeded=False)
        wait_for(lambda: self.world.resource() == self.before, 30, "the resource should be as it was")
        wait_for(lambda: not self.files_of_agent(), 30, "the agent should forget its deeds")
        self.assertEqual(self.lab.state(MACHINE), "shut off" if name in RESTORED else state)
        self.assert_succeeded(self.stack.umbra(*self.command, "--watch"))
        self.assertEqual(self.world.resource(), self.before)


add_tests(AgentWithACluster, points.names_in(points.CLUSTER), AgentWithACluster.walk)

"""A real guest that is the resource of a real Pacemaker (VirtualDomain): told of saves and restores, it sees no failure (C1 to C3)."""
import pathlib
import shutil
import subprocess
import unittest
import xml.etree.ElementTree as ET

import world
from stack import Stack, wait_for
from world import EndToEndTest

CLUSTER = world.REPO / "deploy/lab/cluster"
VM = "ha"
RESOURCE = "vm-ha"
PROGRAMS = ("corosync", "pacemakerd", "crm_mon", "crm_resource", "cibadmin")


class Cluster:
    """A private Pacemaker of one node."""

    def __init__(self, root):
        self.root = root

    def __call__(self, *args):
        return subprocess.run([str(CLUSTER), "--root", str(self.root), *map(str, args)], capture_output=True, text=True, timeout=150,
                              check=True, stdin=subprocess.DEVNULL).stdout

    def tool(self, *args):
        return self("enter", "node1", *args)

    def inside(self, binary, place):
        """A program that runs `binary` as on the node, where Pacemaker's tools find their cluster."""
        program = pathlib.Path(place)
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {CLUSTER} --root {self.root} enter node1 {pathlib.Path(binary).resolve()} "$@"\n')
        program.chmod(0o755)
        return program

    def add_virtual_domain(self, name, config, uri):
        self.tool("cibadmin", "--create", "--scope", "resources", "--xml-text", f"""
            <primitive id="vm-{name}" class="ocf" provider="heartbeat" type="VirtualDomain">
              <instance_attributes id="{name}-p"><nvpair id="{name}-c" name="config" value="{config}"/>
                <nvpair id="{name}-h" name="hypervisor" value="{uri}"/></instance_attributes>
              <operations><op id="{name}-m" name="monitor" interval="1s" timeout="30s"/><op id="{name}-s" name="start" interval="0" timeout="60s"/>
                <op id="{name}-e" name="stop" interval="0" timeout="40s"/></operations>
            </primitive>""")
        self.tool("crm_resource", "--wait", "--timeout=60s")

    def status(self):
        return ET.fromstring(self.tool("crm_mon", "--one-shot", "--inactive", "--failcounts", "--output-as=xml"))

    def resource(self):
        return self.status().find(f".//resource[@id='{RESOURCE}']").attrib

    def failures(self):
        history = self.status().find(f".//resource_history[@id='{RESOURCE}']")
        return int(history.get("fail-count", "0"))

    def settings(self):
        """The resource's own meta attributes."""
        cib = ET.fromstring(self.tool("cibadmin", "--query", "--scope", "resources"))
        return {pair.get("name"): pair.get("value") for pair in cib.findall(".//meta_attributes/nvpair")}


@unittest.skipUnless(all(shutil.which(program) for program in PROGRAMS), "Pacemaker is not installed: deploy/install-deps --lab")
class ClusteredGuest(EndToEndTest):
    @classmethod
    def setUpClass(cls):
        root = world.WORLD.root / "cluster"
        cls.cluster = Cluster(root)
        cls.addClassCleanup(cls.cluster, "stop")
        cls.cluster("start", 1)
        lab = world.WORLD.lab
        cls.addClassCleanup(lambda: lab.exists(VM) and lab.destroy(VM))
        lab.create(VM, "--no-start", "--no-agent")  # without a guest agent a backup must stop it
        config = root / "vms" / f"{VM}.xml"
        config.write_text(lab("vm", "xml", VM))
        cls.cluster.add_virtual_domain(VM, config, lab.uri)
        cls.inner = Stack(root / "stack", world.WORLD.build, lab.uri)
        cls.inner.inventory_seconds = 1
        for daemon in (cls.inner.daemon, cls.inner.agent):
            daemon.binary = cls.cluster.inside(daemon.binary, root / "bin" / daemon.binary.name)
        cls.addClassCleanup(cls.inner.stop)
        cls.inner.start_daemon()
        cls.inner.start_agent("--cluster", "pacemaker")

    def setUp(self):
        super().setUp()
        wait_for(lambda: self.cluster.resource()["role"] == "Started", 60, "the cluster should run its guest")
        self.inner.wait_vm(VM, lambda vm: vm.get("state") == "VIRTUAL_MACHINE_STATE_RUNNING")
        self.failures_before = self.cluster.failures()
        self.starts_before = self.starts()

    def starts(self):
        """How often the cluster has started the guest."""
        log = (self.cluster.root / "node1/log-pacemaker/pacemaker.log").read_text(errors="replace")
        return log.count(f"Result of start operation for {RESOURCE} on node1: ok")

    def assert_undisturbed(self, starts=0):
        """The cluster has seen no failure, and has no setting of ours."""
        self.cluster.tool("crm_resource", "--wait", "--timeout=60s")
        self.assertEqual(self.cluster.failures(), self.failures_before)
        self.assertEqual(self.cluster.settings(), {})
        resource = self.cluster.resource()
        self.assertEqual((resource["role"], resource["managed"]), ("Started", "true"))
        self.assertEqual(self.starts(), self.starts_before + starts)
        self.assertEqual(self.lab.state(VM), "running")
        self.assertEqual(list((self.inner.agent_data / "cluster-deeds").iterdir()), [])

    def agent_log(self):
        return self.inner.agent.log.read_text(errors="replace")

    def backup(self):
        job = self.assert_succeeded(self.inner.umbra("backup", "run", VM, "--watch"))
        return self.inner.umbra("recovery-point", "show", job["recoveryPoints"][0].split("/")[1]).last

    def test_1_inventory_shows_the_resource(self):
        resource = self.inner.wait_vm(VM, lambda vm: "clusterResource" in vm)["clusterResource"]
        self.assertEqual(resource, {"resource": RESOURCE, "state": "online", "node": "node1"})

    def test_2_the_cluster_takes_a_stop_behind_its_back_for_a_failure(self):
        self.lab.virsh("destroy", VM)
        wait_for(lambda: self.cluster.failures() > self.failures_before, 30, "the cluster should see the failure")
        wait_for(lambda: self.lab.state(VM) == "running", 60, "the cluster should start the guest again")
        self.cluster.tool("crm_resource", "--cleanup", "--resource", RESOURCE)
        self.cluster.tool("crm_resource", "--wait", "--timeout", "60")  # a cleanup looks at the resource again

    def test_3_a_backup_by_saved_state_is_announced(self):
        point = self.backup()
        self.assertEqual(point["mechanism"], "BACKUP_MECHANISM_SAVED_STATE")
        self.assert_undisturbed()
        self.assertIn(f"resource={RESOURCE} deed=planned_save", self.agent_log())

    def test_4_a_restore_needs_the_resource_offline(self):
        point = self.backup()["name"].split("/")[1]
        refused = self.inner.umbra("restore", "run", point, "--in-place", "--yes", "--watch")
        self.assert_failed(refused.last, "CLUSTER_RESOURCE_ONLINE")
        self.assert_undisturbed()
        self.assert_succeeded(
            self.inner.umbra("restore", "run", point, "--in-place", "--yes", "--take-cluster-offline", "--watch"))
        self.assert_undisturbed(starts=1)  # by the cluster, and nobody else

    def test_5_a_killed_agent_takes_its_setting_back(self):
        for point in ("agent.cluster.recorded", "agent.cluster.begun", "agent.cluster.ended"):
            with self.subTest(point):
                self.inner.agent.stop()
                self.inner.start_agent("--cluster", "pacemaker", env={"UMBRA_CRASH_POINT": point})
                self.inner.wait_vm(VM)
                job = self.inner.umbra("backup", "run", VM).last["name"]
                self.inner.agent.wait_end(60)
                self.inner.start_agent("--cluster", "pacemaker")
                wait_for(lambda: self.inner.job(job).get("state") == "STATE_FAILED", 60, "the job should have failed")
                self.assert_undisturbed()

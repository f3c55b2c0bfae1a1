// Runs the contract suite on a real Pacemaker with two nodes, which deploy/lab/cluster starts on this machine. Needs
// root and the packages of deploy/install-deps --lab; without them every test is skipped.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "agent/cluster/pacemaker/pacemaker_cluster.h"
#include "storage/base/clock.h"
#include "storage/base/command.h"
#include "storage/base/filesystem.h"
#include "storage/base/status.h"
#include "tests/contract/cluster/cluster_under_test.h"
#include "tests/support/temp_dir.h"

namespace umbra::cluster {
namespace {

constexpr char kLab[] = UMBRA_SOURCE_DIR "/deploy/lab/cluster";
constexpr char kVmUuid[] = "4e5b3c1a-90d2-4c5e-8f17-0a6b7c8d9e0f";

// Runs the tools as on the first node.
class NodeRunner final : public base::CommandRunner {
 public:
  NodeRunner(base::CommandRunner& commands, std::string root) : commands_(commands), root_(std::move(root)) {}

  absl::StatusOr<base::CommandResult> Run(const base::Command& command) override {
    if (!answers_) return commands_.Run(command);  // outside of the cluster: the tools find none
    base::Command there = command;
    const std::vector<std::string> enter{kLab, "--root", root_, "enter", "node1"};
    there.arguments.insert(there.arguments.begin(), enter.begin(), enter.end());
    return commands_.Run(there);
  }

  bool answers_ = true;

 private:
  base::CommandRunner& commands_;
  const std::string root_;
};

class PacemakerUnderTest final : public ClusterUnderTest {
 public:
  PacemakerUnderTest() {
    Must({"start", "2"});
    Must({"add-vm", vm_name_, vm_uuid_});
  }
  ~PacemakerUnderTest() override { Lab({"stop"}).IgnoreError(); }

  ClusterService& service() override { return cluster_; }
  const std::string& vm_uuid() const override { return vm_uuid_; }
  const std::string& vm_name() const override { return vm_name_; }
  const std::string& resource() const override { return resource_; }

  void MakeHealthy() override {
    Tool({"crm_resource", "--resource", resource_, "--meta", "--delete-parameter", "maintenance"});
    Tool({"crm_resource", "--resource", resource_, "--meta", "--delete-parameter", "target-role"});
    Tool({"crm_resource", "--cleanup", "--resource", resource_});
    Settle();
  }
  std::string RunsOn() override {
    std::string node = files_.ReadFile(File("")).value_or("");
    while (!node.empty() && node.back() == '\n') node.pop_back();
    return node;
  }
  void StopVm() override { UMBRA_CHECK(files_.Remove(File("")).ok()); }
  void StartVm(const std::string& node) override { UMBRA_CHECK(files_.WriteFileAtomic(File(""), node + "\n").ok()); }
  // The monitor runs every second.
  void LetMonitorLook() override {
    clock_.Sleep(absl::Milliseconds(2500));
    Settle();
  }
  int Failures() override {
    // Of the answer's text, which belongs to no parser of ours: ... fail-count="1" ...
    const std::string status = Tool({"crm_mon", "--one-shot", "--failcounts", "--output-as=xml"});
    const size_t found = status.find("fail-count=\"");
    return found == std::string::npos ? 0 : std::atoi(status.c_str() + found + 12);
  }
  void SetMaintenance(bool maintenance) override {
    Tool({"crm_resource", "--resource", resource_, "--meta", "--set-parameter", "maintenance", "--parameter-value",
          maintenance ? "true" : "false"});
    Settle();
  }
  void SetTargetOffline() override {
    Tool({"crm_resource", "--resource", resource_, "--meta", "--set-parameter", "target-role", "--parameter-value",
          "Stopped"});
    Settle();
  }
  void SetAnswers(bool answers) override { node_.answers_ = answers; }
  void SetStopFails(bool fails) override {
    if (fails) {
      UMBRA_CHECK(files_.WriteFileAtomic(File(".keeps-running"), "").ok());
    } else {
      files_.Remove(File(".keeps-running")).IgnoreError();
    }
  }

 private:
  std::string File(const std::string& ending) const { return dir_.File("vms/" + vm_name_ + ending); }

  absl::StatusOr<base::CommandResult> Lab(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {kLab, "--root", dir_.path()});
    return commands_.RunToSuccess({.arguments = std::move(arguments), .timeout = absl::Minutes(2)});
  }
  void Must(std::vector<std::string> arguments) {
    const auto result = Lab(std::move(arguments));
    if (!result.ok()) std::fprintf(stderr, "%s\n", base::Describe(result.status()).c_str());
    UMBRA_CHECK(result.ok());
  }
  std::string Tool(std::vector<std::string> arguments) {
    const auto result = node_.RunToSuccess({.arguments = std::move(arguments), .output_bytes_max = base::kMiB});
    if (!result.ok()) std::fprintf(stderr, "%s\n", base::Describe(result.status()).c_str());
    UMBRA_CHECK(result.ok());
    return result->output;
  }
  void Settle() { Tool({"crm_resource", "--wait", "--timeout=30s"}); }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SystemCommandRunner commands_{clock_};
  NodeRunner node_{commands_, dir_.path()};
  PacemakerCluster cluster_{node_, files_, clock_, {.stop = absl::Seconds(20), .start = absl::Seconds(20)}};
  const std::string vm_name_ = "mail01";
  const std::string vm_uuid_ = kVmUuid;
  const std::string resource_ = "vm-mail01";
};

}  // namespace

std::unique_ptr<ClusterUnderTest> MakeClusterUnderTest(std::string& why_not) {
  for (const char* program : {"/usr/sbin/corosync", "/usr/sbin/pacemakerd", "/usr/sbin/crm_mon"}) {
    if (std::filesystem::exists(program)) continue;
    why_not = std::string(program) + " is not installed: run deploy/install-deps --lab";
    return nullptr;
  }
  if (geteuid() != 0) {
    why_not = "a private Pacemaker needs root";
    return nullptr;
  }
  return std::make_unique<PacemakerUnderTest>();
}

}  // namespace umbra::cluster

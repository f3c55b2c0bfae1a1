// A service of the host that is quiesced by hooks, for the real file-set writer: commands and folder copies without an
// operating system. Unlike an application with a writer of its own, it stays frozen when the agent dies.
#ifndef UMBRA_TESTS_SIM_SERVICE_H_
#define UMBRA_TESTS_SIM_SERVICE_H_

#include <map>
#include <string>
#include <vector>

#include "agent/writers/file_set_writer.h"
#include "storage/base/command.h"
#include "storage/base/folder_copy.h"
#include "tests/sim/apps.h"
#include "tests/sim/life.h"
#include "tests/sim/plan.h"
#include "tests/support/memory_filesystem.h"

namespace umbra::sim {

inline constexpr char kServiceName[] = "service";
inline constexpr char kCopiesFolder[] = "/copies";
inline constexpr char kFileSetIntentsFolder[] = "/file-set-intents";

// What outlives the agent of it.
struct Service {
  Service(RunContext& run, const Plan& plan, testing::MemoryFilesystem& files)
      : app(run, plan, "service"), thaw_failures(plan.service.thaw_failures), files(files) {}

  App app;
  int thaw_failures;
  bool freeze_goes_wrong = true;  // once, as the plan says
  testing::MemoryFilesystem& files;
  std::map<std::string, AppProvider::Copy> copies;  // by folder
};

writers::FileSet ServiceFileSet();

class ServiceCommands final : public base::CommandRunner {
 public:
  ServiceCommands(RunContext& run, Life& life, const Plan& plan, const bool& calm, Service& service)
      : run_(run), life_(life), plan_(plan), calm_(calm), service_(service) {}

  absl::StatusOr<base::CommandResult> Run(const base::Command& command) override;

 private:
  absl::StatusOr<base::CommandResult> Freeze(const base::Command& command);
  absl::StatusOr<base::CommandResult> Thaw();

  RunContext& run_;
  Life& life_;
  const Plan& plan_;
  const bool& calm_;
  Service& service_;
};

class ServiceCopier final : public base::FolderCopier {
 public:
  ServiceCopier(Life& life, Service& service) : life_(life), service_(service) {}

  absl::StatusOr<base::FolderSize> Measure(const base::FolderSelection& from, const std::string& to,
                                           const base::FolderCopyLimits& limits) override;
  absl::StatusOr<base::FolderCopyReport> Copy(const base::FolderSelection& from, const std::string& to,
                                              const base::FolderCopyLimits& limits) override;
  absl::Status RemoveTree(const std::string& folder) override;

 private:
  Life& life_;
  Service& service_;
};

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_SERVICE_H_

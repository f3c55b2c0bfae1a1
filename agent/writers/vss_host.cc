#include "agent/writers/vss_host.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "agent/cluster/cluster_hold.h"
#include "agent/cluster/deed_journal.h"
#include "agent/journal/intent_journal.h"
#include "agent/providers/checkpoint_provider.h"
#include "agent/providers/folder_provider.h"
#include "agent/vss/coordinator.h"
#include "agent/writers/hyperv_writer.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::writers {

struct VssHost::Parts {
  Parts(hypervisor::Hypervisor& hypervisor, base::Filesystem& filesystem, base::Clock& clock, base::Random& random,
        VssHostOptions host_options)
      : options(std::move(host_options)),
        filesystem(filesystem),
        journal(filesystem, options.journal_folder),
        tools{hypervisor, journal, clock, *options.threads},
        provider(tools),
        deeds(filesystem, options.cluster_journal_folder),
        cluster(options.cluster == nullptr ? std::nullopt
                                           : std::optional(cluster::ClusterTools{*options.cluster, deeds, hypervisor})),
        writer(tools, provider, filesystem, random,
               {vss::Guid::Literal(random.Uuid()), options.scratch_folder, options.freeze, options.guest_agent_timeout,
                options.guest_writers, cluster.has_value() ? &*cluster : nullptr, options.resume_patience,
                options.saves_at_once, options.threads}),
        coordinator(clock, random, vss::ProviderLimits{}, *options.threads) {
    coordinator.AddWriter(writer);
    coordinator.AddProvider(provider);
    if (!options.file_sets.sets.empty()) AddFileSets(clock, random);
  }

  void AddFileSets(base::Clock& clock, base::Random& random) {
    const VssHostOptions::FileSets& given = options.file_sets;
    folders.emplace(*given.copier, filesystem, clock, given.copies_folder);
    file_sets.emplace(given.sets, *given.commands, *folders, filesystem, clock, given.intents_folder,
                      vss::Guid::Literal(random.Uuid()));
    coordinator.AddWriter(*file_sets);
    coordinator.AddProvider(*folders);
  }

  const VssHostOptions options;
  base::Filesystem& filesystem;
  journal::IntentJournal journal;
  const providers::PointInTimeTools tools;
  providers::CheckpointProvider provider;
  cluster::DeedJournal deeds;
  const std::optional<cluster::ClusterTools> cluster;
  HypervWriter writer;
  std::optional<providers::FolderProvider> folders;  // with file_sets
  std::optional<FileSetWriter> file_sets;            // when any are configured
  vss::Coordinator coordinator;  // last: ends first, and with it the threads that call the others
};

VssHost::VssHost(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
VssHost::~VssHost() = default;

absl::StatusOr<std::unique_ptr<VssHost>> VssHost::Create(hypervisor::Hypervisor& hypervisor,
                                                         base::Filesystem& filesystem, base::Clock& clock,
                                                         base::Random& random, VssHostOptions options) {
  auto parts = std::make_unique<Parts>(hypervisor, filesystem, clock, random, std::move(options));
  RETURN_IF_ERROR(parts->journal.Open());
  if (parts->cluster.has_value()) RETURN_IF_ERROR(parts->deeds.Open());
  if (parts->file_sets.has_value()) RETURN_IF_ERROR(parts->file_sets->Open());
  return std::unique_ptr<VssHost>(new VssHost(std::move(parts)));
}

absl::StatusOr<journal::HealReport> VssHost::Heal() {
  const providers::PointInTimeTools& tools = parts_->tools;
  cluster::JournalList deeds;
  if (parts_->cluster.has_value()) {
    ASSIGN_OR_RETURN(deeds, parts_->deeds.ListLeft());
  }
  ASSIGN_OR_RETURN(journal::HealReport report, journal::Heal(tools.hypervisor, parts_->journal, tools.clock));
  const auto log = base::Log("journal");
  for (const journal::Intent& intent : report.healed) {
    log->warn("healed vm={} owner_tag={}", intent.vm_uuid, intent.owner_tag);
  }
  for (const std::string& action : report.actions) log->info("healing action=\"{}\"", action);
  for (const auto& open : report.open) {
    log->error("not healed yet vm={} owner_tag={} error=\"{}\"", open.intent.vm_uuid, open.intent.owner_tag,
               base::Describe(open.why));
  }
  for (const std::string& path : report.damaged) log->error("damaged intent path={}", path);
  if (parts_->cluster.has_value()) HealClusterAfter(report, std::move(deeds));
  if (parts_->file_sets.has_value()) RETURN_IF_ERROR(HealFileSets());
  return report;
}

// The cluster may look again only at virtual machines that are as they were.
void VssHost::HealClusterAfter(const journal::HealReport& virtual_machines, cluster::JournalList deeds) {
  absl::flat_hash_set<std::string> not_yet;
  for (const auto& open : virtual_machines.open) not_yet.insert(open.intent.vm_uuid);
  const cluster::ClusterHealReport report = cluster::HealCluster(*parts_->cluster, std::move(deeds), not_yet);
  const auto log = base::Log("cluster");
  for (const cluster::JournalEntry& entry : report.healed) {
    log->warn("healed vm={} resource={} deed={}", entry.vm_uuid, entry.deed.resource, NameOf(entry.deed.kind));
  }
  for (const auto& open : report.open) {
    log->error("not healed yet vm={} resource={} deed={} error=\"{}\"", open.entry.vm_uuid, open.entry.deed.resource,
               NameOf(open.entry.deed.kind), base::Describe(open.why));
  }
  for (const std::string& path : report.damaged) log->error("damaged deed path={}", path);
}

absl::Status VssHost::HealFileSets() {
  ASSIGN_OR_RETURN(const FileSetHealReport report, parts_->file_sets->Heal());
  const auto log = base::Log("writers");
  for (const std::string& action : report.actions) log->warn("healing action=\"{}\"", action);
  for (const std::string& open : report.open) log->error("not healed yet file_set_intent=\"{}\"", open);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<VmDescription>> VssHost::DescribeVms() {
  ASSIGN_OR_RETURN(std::vector<VmDescription> vms, writers::DescribeVms(parts_->tools.hypervisor, parts_->filesystem,
                                                                        parts_->options.guest_agent_timeout));
  if (parts_->cluster.has_value()) AddResources(vms);
  return vms;
}

// An inventory without a cluster's answer is better than none.
void VssHost::AddResources(std::vector<VmDescription>& vms) {
  const auto resources = parts_->cluster->service.ListResources();
  if (!resources.ok()) {
    base::Log("cluster")->warn("resources not known error=\"{}\"", base::Describe(resources.status()));
    return;
  }
  for (VmDescription& vm : vms) {
    const auto found =
        std::find_if(resources->begin(), resources->end(),
                     [&](const cluster::ClusterResource& resource) { return resource.Is(vm.vm.uuid, vm.vm.name); });
    if (found != resources->end()) vm.cluster_resource = *found;
  }
}

std::vector<vss::WriterStatus> VssHost::Writers() {
  return parts_->coordinator.LastWriterStatus();
}

std::unique_ptr<VmBackup> VssHost::NewBackup(VmBackupOptions options) {
  return std::make_unique<VmBackup>(parts_->coordinator.NewSession(), parts_->writer, parts_->provider,
                                    parts_->folders.has_value() ? &*parts_->folders : nullptr, parts_->filesystem,
                                    std::move(options));
}

std::unique_ptr<FileSetRestore> VssHost::NewFileSetRestore(FileSetRestoreOptions options) {
  return std::make_unique<FileSetRestore>(parts_->coordinator.NewSession(), std::move(options));
}

const std::vector<FileSet>& VssHost::file_sets() const {
  return parts_->options.file_sets.sets;
}

std::unique_ptr<VmRestore> VssHost::NewRestore(VmRestoreOptions options) {
  return std::make_unique<VmRestore>(parts_->coordinator.NewSession(), parts_->writer, std::move(options));
}

}  // namespace umbra::writers

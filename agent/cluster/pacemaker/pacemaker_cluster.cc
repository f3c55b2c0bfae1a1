#include "agent/cluster/pacemaker/pacemaker_cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "storage/base/status.h"

namespace umbra::cluster {
namespace {

// Exit statuses of Pacemaker's tools (crm_error --exit --list).
constexpr int kExitNotConnected = 102;
constexpr int kExitNoSuchObject = 105;
constexpr int kExitTimeout = 124;

constexpr uint64_t kDomainFileBytesMax = 1 << 20;

// How a deed's setting is named, and what we make of it.
struct Setting {
  std::string name, value;
  std::optional<std::string> PacemakerPrimitive::*own;
};

const Setting& SettingOf(DeedKind kind) {
  static const Setting kMaintenance{"maintenance", "true", &PacemakerPrimitive::maintenance};
  static const Setting kTargetRole{"target-role", "Stopped", &PacemakerPrimitive::target_role};
  return kind == DeedKind::kPlannedSave ? kMaintenance : kTargetRole;
}

// Deed::former: "unset", or "=" and the value.
constexpr std::string_view kUnset = "unset";

std::string FormerOf(const std::optional<std::string>& value) {
  return value ? "=" + *value : std::string(kUnset);
}

// Empty for "unset".
std::string ValueOf(const std::string& former) {
  return former.starts_with('=') ? former.substr(1) : "";
}

bool IsVirtualMachine(const PacemakerPrimitive& primitive) {
  return primitive.agent.starts_with("ocf:") && primitive.agent.ends_with(":VirtualDomain");
}

// The name that the file of a domain is given by habit.
std::string StemOf(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  if (name.ends_with(".xml")) name.resize(name.size() - 4);
  return name;
}

bool IsStopped(const PacemakerResourceStatus& status) {
  return status.role == "Stopped" && !status.active && !status.pending;
}

bool IsStarted(const PacemakerResourceStatus& status) {
  return status.active && !status.pending && (status.role == "Started" || status.role == "Promoted");
}

// Pacemaker doesn't care about the case of what a person wrote there.
bool IsKeptDown(const PacemakerResourceStatus& status) {
  return !status.managed || absl::EqualsIgnoreCase(base::Av(status.target_role), "stopped");
}

ResourceState StateOf(const PacemakerResourceStatus& status) {
  if (IsStarted(status)) return ResourceState::kOnline;
  if (!IsStopped(status)) return ResourceState::kChanging;
  return IsKeptDown(status) ? ResourceState::kOffline : ResourceState::kDown;
}

absl::Status NotFound(const std::string& resource) {
  return base::Error(absl::StatusCode::kNotFound, "CLUSTER_RESOURCE_NOT_FOUND", "the cluster has no resource {}",
                     resource);
}

// Why a tool that ran said no.
absl::Status Refusal(const std::string& tool, const base::CommandResult& result) {
  const std::string errors = base::LastLineOf(result.errors);
  const std::string words = errors.empty() ? base::LastLineOf(result.output) : errors;
  switch (result.exit_status) {
    case kExitNotConnected:
      return base::Error(absl::StatusCode::kUnavailable, "CLUSTER_UNAVAILABLE",
                         "Pacemaker doesn't run on this node: {}", words);
    case kExitNoSuchObject:
      return base::Error(absl::StatusCode::kNotFound, "CLUSTER_RESOURCE_NOT_FOUND", "{}: {}", tool, words);
    case kExitTimeout:
      return base::Error(absl::StatusCode::kDeadlineExceeded, "CLUSTER_TIMEOUT", "{}: {}", tool, words);
    default:
      return base::Error(absl::StatusCode::kAborted, "CLUSTER_REFUSED", "{} failed with status {}: {}", tool,
                         result.exit_status, words);
  }
}

// Why a tool didn't run to its end.
absl::Status NoAnswer(const absl::Status& status) {
  if (absl::IsDeadlineExceeded(status)) {
    return base::Error(absl::StatusCode::kDeadlineExceeded, "CLUSTER_TIMEOUT", "{}", base::MessageOf(status));
  }
  return base::Error(absl::StatusCode::kUnavailable, "CLUSTER_UNAVAILABLE", "{}", base::MessageOf(status));
}

}  // namespace

PacemakerCluster::PacemakerCluster(base::CommandRunner& commands, base::Filesystem& files, base::Clock& clock,
                                   PacemakerLimits limits)
    : commands_(commands), files_(files), clock_(clock), limits_(limits) {}

absl::StatusOr<std::string> PacemakerCluster::Ask(std::vector<std::string> arguments, absl::Duration timeout) {
  base::Command command{
      .arguments = std::move(arguments), .timeout = timeout, .output_bytes_max = kPacemakerXmlBytesMax};
  const absl::StatusOr<base::CommandResult> result = commands_.Run(command);
  if (!result.ok()) return NoAnswer(result.status());
  if (!result->ok()) return Refusal(command.arguments.front(), *result);
  if (result->truncated) {
    return base::Error(absl::StatusCode::kInternal, "CLUSTER_ANSWER_INVALID", "{} printed too much",
                       command.arguments.front());
  }
  return std::move(result->output);
}

absl::StatusOr<PacemakerStatus> PacemakerCluster::Status() {
  ASSIGN_OR_RETURN(const std::string xml,
                   Ask({"crm_mon", "--one-shot", "--inactive", "--output-as=xml"}, limits_.question));
  ASSIGN_OR_RETURN(PacemakerStatus status, ParseStatus(xml));
  if (status.leader.empty()) {
    return base::Error(absl::StatusCode::kUnavailable, "CLUSTER_UNAVAILABLE",
                       "the cluster has no designated controller now");
  }
  return status;
}

absl::StatusOr<std::vector<PacemakerPrimitive>> PacemakerCluster::Primitives() {
  ASSIGN_OR_RETURN(const std::string xml, Ask({"cibadmin", "--query", "--scope", "resources"}, limits_.question));
  return ParseResources(xml);
}

absl::StatusOr<PacemakerPrimitive> PacemakerCluster::Find(const std::string& resource) {
  ASSIGN_OR_RETURN(std::vector<PacemakerPrimitive> primitives, Primitives());
  const auto found = std::find_if(primitives.begin(), primitives.end(),
                                  [&](const PacemakerPrimitive& primitive) { return primitive.id == resource; });
  if (found == primitives.end()) return NotFound(resource);
  return std::move(*found);
}

absl::StatusOr<PacemakerResourceStatus> PacemakerCluster::StatusOf(const std::string& resource) {
  ASSIGN_OR_RETURN(const PacemakerStatus status, Status());
  const auto found = status.resources.find(resource);
  if (found == status.resources.end()) return NotFound(resource);
  return found->second;
}

DomainIdentity PacemakerCluster::IdentityOf(const PacemakerPrimitive& primitive) {
  const auto config = primitive.parameters.find("config");
  if (config == primitive.parameters.end() || !config->second.starts_with('/')) return {};
  const absl::StatusOr<std::string> text = files_.ReadFile(config->second, kDomainFileBytesMax);
  if (text.ok()) {
    if (absl::StatusOr<DomainIdentity> identity = ParseDomainIdentity(*text); identity.ok())
      return *std::move(identity);
  }
  return {StemOf(config->second), ""};
}

ClusterResource PacemakerCluster::Describe(const PacemakerPrimitive& primitive, const PacemakerStatus& status) {
  DomainIdentity identity = IdentityOf(primitive);
  ClusterResource resource{
      .id = primitive.id, .vm_name = std::move(identity.name), .vm_uuid = std::move(identity.uuid)};
  const auto found = status.resources.find(primitive.id);
  if (found == status.resources.end()) return resource;  // just made: the cluster is about to start it
  resource.state = StateOf(found->second);
  resource.managed = found->second.managed;
  if (resource.state == ResourceState::kOnline) resource.node = found->second.node;
  return resource;
}

absl::StatusOr<std::string> PacemakerCluster::Describe() {
  ASSIGN_OR_RETURN(const PacemakerStatus status, Status());
  return fmt::format("pacemaker {}, led by {}", status.version, status.leader);
}

absl::StatusOr<std::vector<ClusterResource>> PacemakerCluster::ListResources() {
  ASSIGN_OR_RETURN(const PacemakerStatus status, Status());
  ASSIGN_OR_RETURN(const std::vector<PacemakerPrimitive> primitives, Primitives());
  std::vector<ClusterResource> resources;
  for (const PacemakerPrimitive& primitive : primitives) {
    if (IsVirtualMachine(primitive)) resources.push_back(Describe(primitive, status));
  }
  return resources;
}

absl::StatusOr<Deed> PacemakerCluster::Plan(DeedKind kind, const std::string& resource) {
  ASSIGN_OR_RETURN(const PacemakerPrimitive primitive, Find(resource));
  ASSIGN_OR_RETURN(const PacemakerResourceStatus status, StatusOf(resource));
  if (StateOf(status) == ResourceState::kChanging) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "CLUSTER_RESOURCE_CHANGING",
                       "the cluster is just changing {} ({}); try again when it is done", resource, status.role);
  }
  if (kind == DeedKind::kOffline && !status.managed) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "CLUSTER_RESOURCE_UNMANAGED",
                       "the cluster was told to leave {} alone (maintenance or unmanaged), so it can't take it offline",
                       resource);
  }
  return Deed{kind, resource, FormerOf(primitive.*SettingOf(kind).own)};
}

absl::Status PacemakerCluster::Set(const PacemakerPrimitive& primitive, const std::string& name,
                                   const std::string& value) {
  std::vector<std::string> arguments{"crm_resource", "--resource", primitive.settings_id, "--meta"};
  if (value.empty()) {
    arguments.insert(arguments.end(), {"--delete-parameter", name});
  } else {
    arguments.insert(arguments.end(), {"--set-parameter", name, "--parameter-value", value});
  }
  return Ask(std::move(arguments), limits_.question).status();
}

absl::Status PacemakerCluster::Begin(const Deed& deed) {
  ASSIGN_OR_RETURN(const PacemakerPrimitive primitive, Find(deed.resource));
  const Setting& setting = SettingOf(deed.kind);
  if (primitive.*setting.own != setting.value) RETURN_IF_ERROR(Set(primitive, setting.name, setting.value));
  return deed.kind == DeedKind::kPlannedSave ? AwaitSettled(deed.resource) : AwaitStopped(deed.resource);
}

absl::Status PacemakerCluster::End(const Deed& deed) {
  const absl::StatusOr<PacemakerPrimitive> primitive = Find(deed.resource);
  if (base::ReasonOf(primitive.status()) == "CLUSTER_RESOURCE_NOT_FOUND") return absl::OkStatus();
  RETURN_IF_ERROR(primitive.status());
  const Setting& setting = SettingOf(deed.kind);
  const std::string former = ValueOf(deed.former);
  const bool ours = *primitive.*setting.own == setting.value && former != setting.value;
  if (!ours) return absl::OkStatus();
  RETURN_IF_ERROR(Set(*primitive, setting.name, former));
  return deed.kind == DeedKind::kOffline ? AwaitStarted(deed.resource) : absl::OkStatus();
}

// The setting alone isn't enough: a monitor that is under way, or was scheduled by the leader before it knew, would
// still find the virtual machine saved, and its failure would be remembered.
absl::Status PacemakerCluster::AwaitSettled(const std::string& resource) {
  const int64_t seconds = std::max<int64_t>(1, absl::ToInt64Seconds(limits_.settle));
  RETURN_IF_ERROR(
      Ask({"crm_resource", "--wait", fmt::format("--timeout={}s", seconds)}, limits_.settle + limits_.question)
          .status());
  ASSIGN_OR_RETURN(const PacemakerResourceStatus status, StatusOf(resource));
  if (!status.managed) return absl::OkStatus();
  return base::Error(absl::StatusCode::kAborted, "CLUSTER_REFUSED",
                     "{} has maintenance=true, and the cluster manages it all the same", resource);
}

absl::Status PacemakerCluster::Await(const std::string& resource, absl::Duration limit, std::string_view what,
                                     const std::function<absl::StatusOr<bool>(const PacemakerResourceStatus&)>& done) {
  const absl::Duration deadline = clock_.Monotonic() + limit;
  while (true) {
    ASSIGN_OR_RETURN(const PacemakerResourceStatus status, StatusOf(resource));
    ASSIGN_OR_RETURN(const bool is_done, done(status));
    if (is_done) return absl::OkStatus();
    if (clock_.Monotonic() >= deadline) {
      return base::Error(absl::StatusCode::kDeadlineExceeded, "CLUSTER_TIMEOUT", "{} did not {} in {}; it is {}",
                         resource, what, absl::FormatDuration(limit), status.role);
    }
    clock_.Sleep(limits_.poll);
  }
}

absl::Status PacemakerCluster::AwaitStopped(const std::string& resource) {
  return Await(resource, limits_.stop, "stop", [&](const PacemakerResourceStatus& status) -> absl::StatusOr<bool> {
    if (status.blocked || !status.managed) {
      return base::Error(absl::StatusCode::kAborted, "CLUSTER_REFUSED", "the cluster can't stop {}: {}", resource,
                         status.blocked ? "its stop failed, and it is blocked" : "it was told to leave it alone");
    }
    return IsStopped(status);
  });
}

absl::Status PacemakerCluster::AwaitStarted(const std::string& resource) {
  return Await(resource, limits_.start, "start", [](const PacemakerResourceStatus& status) -> absl::StatusOr<bool> {
    // Whatever keeps it down now isn't ours: somebody else's target role, or the cluster being told to leave it alone.
    return IsStarted(status) || IsKeptDown(status);
  });
}

}  // namespace umbra::cluster

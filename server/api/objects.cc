#include "server/api/objects.h"

#include <algorithm>
#include <utility>

#include "server/api/names.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr std::string_view kOwned[] = {"hosts/", "jobs/", "recoveryPoints/", "policies/"};

void Collect(const Message& message, std::vector<std::string>& names) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  const auto add = [&](std::string text) {
    if (IsOwnedName(text) && std::find(names.begin(), names.end(), text) == names.end()) names.push_back(std::move(text));
  };
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        add(field->is_repeated() ? reflection.GetRepeatedString(message, field, i) : reflection.GetString(message, field));
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        Collect(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                     : reflection.GetMessage(message, field),
                names);
      }
    }
  }
}

absl::Status IgnoreMissing(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

// The host or a part of it, with the labels that it is selected by.
absl::StatusOr<identity::Object> OfKey(const catalog::Stores& stores, const catalog::VmKey& key, const std::string& policy) {
  std::vector<catalog::Subject> subject = {{.key = key, .display_name = "", .host_name = ""}};
  RETURN_IF_ERROR(stores.labels.Fill(subject));
  return identity::Object{.name = key.uuid.empty() ? NameOf(key.host) : NameOf(key),
                          .host = NameOf(key.host),
                          .policy = policy,
                          .labels = std::move(subject.front().labels)};
}

absl::StatusOr<std::vector<identity::Object>> OfJob(const catalog::Stores& stores, const catalog::JobId& id) {
  std::vector<identity::Object> objects;
  const absl::StatusOr<catalog::Job> job = stores.jobs.Get(id);
  if (!job.ok()) {
    RETURN_IF_ERROR(IgnoreMissing(job.status()));
    return objects;
  }
  const std::string policy = job->terms.policy.value.empty() ? "" : NameOf(job->terms.policy);
  std::vector<catalog::VmKey> keys = catalog::VmsOf(job->spec);
  if (const auto* restore = std::get_if<catalog::RestoreSpec>(&job->spec)) {
    const absl::StatusOr<catalog::RecoveryPoint> point = stores.recovery_points.Get(restore->recovery_point);
    if (point.ok()) keys.push_back(point->vm);
    keys.push_back({restore->target_host, ""});
  }
  for (const catalog::VmKey& key : keys) {
    ASSIGN_OR_RETURN(identity::Object object, OfKey(stores, key, policy));
    objects.push_back(std::move(object));
  }
  return objects;
}

absl::StatusOr<std::vector<identity::Object>> OfPoint(const catalog::Stores& stores, const catalog::RecoveryPointId& id) {
  std::vector<identity::Object> objects;
  const absl::StatusOr<catalog::RecoveryPoint> point = stores.recovery_points.Get(id);
  if (!point.ok()) {
    RETURN_IF_ERROR(IgnoreMissing(point.status()));
    return objects;
  }
  ASSIGN_OR_RETURN(identity::Object object, OfKey(stores, point->vm, ""));
  objects.push_back(std::move(object));
  return objects;
}

absl::StatusOr<std::vector<identity::Object>> Find(const catalog::Stores& stores, const std::string& name) {
  if (const auto job = ParseJobName(name, ""); job.ok()) return OfJob(stores, *job);
  if (const auto point = ParseRecoveryPointName(name, ""); point.ok()) return OfPoint(stores, *point);
  if (const auto disk = ParseDiskName(name, ""); disk.ok()) return OfPoint(stores, disk->point);
  if (const auto policy = ParsePolicyName(name, ""); policy.ok()) {
    return std::vector<identity::Object>{{.name = name, .host = "", .policy = name, .labels = {}}};
  }
  catalog::VmKey key;
  if (const auto host = ParseHostName(name, ""); host.ok()) key.host = *host;
  if (const auto vm = ParseVmName(name, ""); vm.ok()) key = *vm;
  if (const auto files = ParseFileSetName(name, ""); files.ok()) key = *files;
  if (key.host.value.empty()) return std::vector<identity::Object>();
  ASSIGN_OR_RETURN(identity::Object object, OfKey(stores, key, ""));
  return std::vector<identity::Object>{std::move(object)};
}

}  // namespace

bool IsOwnedName(std::string_view text) {
  return std::any_of(std::begin(kOwned), std::end(kOwned), [&](std::string_view prefix) { return text.starts_with(prefix); });
}

std::vector<std::string> OwnedNamesIn(const google::protobuf::Message& message) {
  std::vector<std::string> names;
  Collect(message, names);
  return names;
}

std::string OwnedNameOf(const google::protobuf::Message& item) {
  const Reflection& reflection = *item.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(item, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_STRING || field->is_repeated()) continue;
    std::string text = reflection.GetString(item, field);
    if (IsOwnedName(text)) return text;
  }
  return "";
}

absl::StatusOr<std::vector<identity::Object>> Objects::Of(const std::string& name) {
  ASSIGN_OR_RETURN(std::vector<identity::Object> objects,
                   catalog_.Read([&](const catalog::Stores& stores) { return Find(stores, name); }));
  if (objects.empty()) objects.emplace_back();
  return objects;
}

}  // namespace umbra::api

#include "server/api/methods.h"

#include <google/protobuf/util/json_util.h>

#include <map>
#include <memory>

#include "google/api/annotations.pb.h"
#include "storage/base/status.h"
#include "umbra/v1/catalog.pb.h"
#include "umbra/v1/disk_content.pb.h"
#include "umbra/v1/event.pb.h"
#include "umbra/v1/file_set.pb.h"
#include "umbra/v1/host.pb.h"
#include "umbra/v1/identity.pb.h"
#include "umbra/v1/job.pb.h"
#include "umbra/v1/logging.pb.h"
#include "umbra/v1/notification.pb.h"
#include "umbra/v1/policy.pb.h"
#include "umbra/v1/recovery_point.pb.h"
#include "umbra/v1/repository.pb.h"
#include "umbra/v1/repository_key.pb.h"
#include "umbra/v1/virtual_machine.pb.h"
#include "umbra/v1/writer.pb.h"

namespace umbra::api {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using google::protobuf::Reflection;

// One message of each file that has services: naming it also links the file in.
std::vector<const FileDescriptor*> FilesWithServices() {
  return {v1::Catalog::descriptor()->file(),        v1::Event::descriptor()->file(),
          v1::FileSet::descriptor()->file(),        v1::Host::descriptor()->file(),
          v1::Identity::descriptor()->file(),       v1::Job::descriptor()->file(),
          v1::Logging::descriptor()->file(),        v1::DiskContent::descriptor()->file(),
          v1::Notification::descriptor()->file(),   v1::Policy::descriptor()->file(),
          v1::RecoveryPoint::descriptor()->file(),  v1::Repository::descriptor()->file(),
          v1::RepositoryKey::descriptor()->file(),  v1::VirtualMachine::descriptor()->file(),
          v1::Writer::descriptor()->file()};
}

// Not a preview, which has pages too: that is about the one thing that its request names.
bool IsList(const MethodDescriptor& method) {
  return method.name().starts_with("List") && method.output_type()->FindFieldByName("next_page_token") != nullptr;
}

MethodFacts FactsOf(const MethodDescriptor& method) {
  MethodFacts facts;
  facts.descriptor = &method;
  facts.name = method.service()->full_name() + "/" + method.name();
  facts.access = method.options().GetExtension(v1::access);
  facts.reads = method.options().GetExtension(google::api::http).has_get();
  facts.lists = facts.reads && IsList(method);
  return facts;
}

void ClearSecrets(Message& message) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->options().GetExtension(v1::sensitive)) {
      reflection.ClearField(&message, field);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_repeated()) {
      ClearSecrets(*reflection.MutableMessage(&message, field));
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        ClearSecrets(*reflection.MutableRepeatedMessage(&message, field, i));
      }
    }
  }
}

// What a field that is set says, here or in a message below; empty: nothing.
std::string NeedsOf(const Message& message) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->options().HasExtension(v1::needs)) return field->options().GetExtension(v1::needs);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_repeated()) continue;
    if (std::string found = NeedsOf(reflection.GetMessage(message, field)); !found.empty()) return found;
  }
  return "";
}

}  // namespace

const std::vector<MethodFacts>& AllMethods() {
  static const auto* const methods = [] {
    auto* all = new std::vector<MethodFacts>;
    for (const FileDescriptor* file : FilesWithServices()) {
      for (int s = 0; s < file->service_count(); ++s) {
        for (int m = 0; m < file->service(s)->method_count(); ++m) all->push_back(FactsOf(*file->service(s)->method(m)));
      }
    }
    return all;
  }();
  return *methods;
}

const MethodFacts& MethodOf(const google::protobuf::Descriptor& request) {
  static const auto* const by_request = [] {
    auto* map = new std::map<const google::protobuf::Descriptor*, const MethodFacts*>;
    for (const MethodFacts& method : AllMethods()) {
      const bool first = map->emplace(method.descriptor->input_type(), &method).second;
      UMBRA_CHECK(first);
    }
    return map;
  }();
  const auto found = by_request->find(&request);
  UMBRA_CHECK(found != by_request->end());
  return *found->second;
}

std::string PermissionFor(const MethodFacts& method, const google::protobuf::Message& request) {
  std::string needs = NeedsOf(request);
  return needs.empty() ? method.access.permission() : needs;
}

std::string WithoutSecrets(const google::protobuf::Message& request) {
  const std::unique_ptr<Message> shown(request.New());
  shown->CopyFrom(request);
  ClearSecrets(*shown);
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(*shown, &json).ok()) return "";
  return json;
}

}  // namespace umbra::api

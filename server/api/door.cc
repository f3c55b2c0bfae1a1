#include "server/api/door.h"

#include <vector>

#include "storage/base/log.h"
#include "storage/base/secret_equals.h"
#include "storage/base/status.h"
#include "umbra/v1/identity.pb.h"

namespace umbra::api {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string MetadataOf(const grpc::CallbackServerContext& context, const char* key) {
  const auto& all = context.client_metadata();
  const auto found = all.find(key);
  return found == all.end() ? "" : std::string(found->second.data(), found->second.size());
}

absl::Status Denied(const std::string& permission) {
  return base::Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
                     "this needs the permission {}; ask who manages the users", permission);
}

// Who signs in is nobody until he has: that he did is written down as his own, and so never left out.
identity::Principal SignedIn(const identity::Principal& before, const Message& response) {
  if (response.GetDescriptor() != v1::CreateSessionResponse::descriptor()) return before;
  identity::Principal principal = before;
  const std::string& session = static_cast<const v1::CreateSessionResponse&>(response).session().name();
  if (!session.empty()) principal.name = session.substr(0, session.find("/sessions/"));
  return principal;
}

// The repeated field of a page that has the resources.
const FieldDescriptor* ItemsOf(const Message& page) {
  for (int i = 0; i < page.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* const field = page.GetDescriptor()->field(i);
    if (field->is_repeated() && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return field;
  }
  return nullptr;
}

}  // namespace

Caller Door::CallerOf(const grpc::CallbackServerContext& context) const {
  Caller caller;
  const std::string edge = MetadataOf(context, kEdgeMetadata);
  caller.credentials.authorization = MetadataOf(context, kAuthorizationMetadata);
  if (edge.empty()) {
    caller.credentials.peer = "local";
    caller.local = caller.credentials.authorization.empty();
    return caller;
  }
  caller.forged = edge_secret_.empty() || !base::SecretEquals(base::AsBytes(edge), base::AsBytes(edge_secret_));
  caller.credentials.session = MetadataOf(context, kSessionMetadata);
  caller.credentials.peer = MetadataOf(context, kPeerMetadata);
  caller.client = MetadataOf(context, kClientMetadata);
  return caller;
}

void Door::NoteExpiry(absl::Time time) {
  const int64_t expiry_us = absl::ToUnixMicros(time);
  int64_t next = next_expiry_us_;
  while (expiry_us < next && !next_expiry_us_.compare_exchange_weak(next, expiry_us)) continue;
}

bool Door::TakeExpired() {
  int64_t next = next_expiry_us_;
  return next <= absl::ToUnixMicros(clock_.Now()) &&
         next_expiry_us_.compare_exchange_strong(next, std::numeric_limits<int64_t>::max());
}

absl::StatusOr<identity::Principal> Door::WhoIs(const Caller& caller) {
  if (caller.forged) {
    return base::Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", "sign in, or show a token");
  }
  if (caller.local) return identity::Identity::Local();
  return identity_.Authenticate(caller.credentials);
}

absl::Status Door::Admit(const identity::Principal& principal, const MethodFacts& method, const Message& request) {
  if (method.access.anyone() || method.access.signed_in()) return absl::OkStatus();
  const std::string permission = PermissionFor(method, request);
  const identity::Object everything;
  // Most callers may do it everywhere: nothing needs to be looked up then.
  if (identity::Allows(principal, permission, everything)) return absl::OkStatus();
  if (method.access.everything()) return Denied(permission);
  const std::vector<std::string> names = OwnedNamesIn(request);
  // A page or a stream of everything shows what its caller may see.
  if (method.lists || (method.descriptor->server_streaming() && names.empty())) {
    return identity::AllowsSomewhere(principal, permission) ? absl::OkStatus() : Denied(permission);
  }
  if (names.empty()) return Denied(permission);
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const std::vector<identity::Object> objects, objects_.Of(name));
    for (const identity::Object& object : objects) {
      if (!identity::Allows(principal, permission, object)) return Denied(permission);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Door::MaySee(const identity::Principal& principal, const std::string& permission,
                                  const Message& item) {
  if (identity::Allows(principal, permission, identity::Object())) return true;
  const std::string name = OwnedNameOf(item);
  if (name.empty()) return false;
  ASSIGN_OR_RETURN(const std::vector<identity::Object> objects, objects_.Of(name));
  for (const identity::Object& object : objects) {
    if (!identity::Allows(principal, permission, object)) return false;
  }
  return true;
}

absl::Status Door::LeaveOut(const identity::Principal& principal, const std::string& permission, Message& page) {
  if (permission.empty() || identity::Allows(principal, permission, identity::Object())) return absl::OkStatus();
  const FieldDescriptor* const items = ItemsOf(page);
  if (items == nullptr) return absl::OkStatus();
  const Reflection& reflection = *page.GetReflection();
  int kept = 0;
  for (int i = 0; i < reflection.FieldSize(page, items); ++i) {
    ASSIGN_OR_RETURN(const bool seen, MaySee(principal, permission, reflection.GetRepeatedMessage(page, items, i)));
    if (seen) reflection.SwapElements(&page, items, kept++, i);
  }
  while (reflection.FieldSize(page, items) > kept) reflection.RemoveLast(&page, items);
  return absl::OkStatus();
}

absl::Status Door::Answer(const Caller& caller, const Message& request, Message& response,
                          absl::FunctionRef<absl::Status(const identity::Principal&, const Caller&)> work) {
  const MethodFacts& method = MethodOf(*request.GetDescriptor());
  absl::StatusOr<identity::Principal> known = WhoIs(caller);
  const identity::Principal principal = known.ok() ? *std::move(known) : identity::Principal();
  absl::Status status = method.access.anyone() && !caller.forged ? absl::OkStatus() : known.status();
  if (status.ok()) status = Admit(principal, method, request);
  const bool admitted = status.ok();
  if (admitted) status = work(principal, caller);
  if (status.ok() && method.lists) status = LeaveOut(principal, method.access.permission(), response);
  if (!status.ok()) response.Clear();
  if (!admitted || !method.reads) Record(caller, SignedIn(principal, response), method, request, status);
  return status;
}

// An entry that can't be written ends no call: what it tells of is done already.
void Door::Record(const Caller& caller, const identity::Principal& principal, const MethodFacts& method,
                  const Message& request, const absl::Status& status) {
  identity::AuditEntry entry;
  entry.principal = principal.name;
  entry.peer = caller.credentials.peer;
  entry.method = method.name;
  if (const std::vector<std::string> names = OwnedNamesIn(request); !names.empty()) entry.object = names.front();
  entry.summary = WithoutSecrets(request);
  entry.code = static_cast<int32_t>(status.code());
  entry.reason = base::ReasonOf(status);
  if (const absl::Status written = audit_.Append(std::move(entry)); !written.ok()) {
    base::Log("api")->error("audit entry lost method={} principal={} error={}", method.name, principal.name,
                            base::Describe(written));
  }
}

}  // namespace umbra::api

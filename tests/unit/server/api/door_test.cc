// Who gets through the door: every method, every role, own and foreign objects; what lists and streams leave out; what
// the audit log says afterwards.
#include "server/api/door.h"

#include <grpcpp/generic/generic_stub.h>

#include <map>
#include <regex>
#include <set>

#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "google/api/annotations.pb.h"
#include "server/api/names.h"
#include "server/api/stream_guard.h"
#include "server/identity/permissions.h"
#include "tests/unit/server/api/fixture.h"
#include "umbra/v1/identity.pb.h"

namespace umbra::api {
namespace {

using google::protobuf::Message;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// The house of these tests: host h1 with machine u1, recovery point p1 and policy own are the caller's; h2, p2 and
// policy foreign are somebody else's.
class DoorTest : public ApiTest {
 protected:
  DoorTest() {
    for (const std::string host : {"h1", "h2"}) SetInventory(AddHost(host), {MakeVm(catalog::HostId(host), "u1")});
    AddPoint("p1", "h1");
    AddPoint("p2", "h2");
    for (const std::string policy : {"own", "foreign"}) AddPolicy(policy);
    jobs_of_["h1"] = SubmitFor("h1");
    jobs_of_["h2"] = SubmitFor("h2");
    channel_ = grpc::CreateChannel("unix:" + dir_.File("s"), grpc::InsecureChannelCredentials());
    generic_ = std::make_unique<grpc::GenericStub>(channel_);
  }

  void AddPolicy(const std::string& id) {
    v1::CreatePolicyRequest request;
    request.set_policy_id(id);
    request.mutable_policy()->mutable_selection()->set_expression("all");
    v1::Policy policy;
    const grpc::Status made = Call(policies_, &v1::PolicyService::Stub::CreatePolicy, request, &policy);
    ASSERT_TRUE(made.ok()) << made.error_message();
  }

  std::string SubmitFor(const std::string& host) {
    return NameOf(engine_
                      ->Submit(catalog::BackupSpec{
                          {{catalog::HostId(host), "u1"}}, catalog::RepositoryId("main"), false, absl::Seconds(10)})
                      ->id);
  }

  // The secret of a token that may do what these grants say.
  std::string TokenWith(std::vector<catalog::RoleGrant> grants) {
    const auto made = identity_->CreateToken(identity::Identity::Local(), {"", "a test", std::move(grants), {}});
    UMBRA_CHECK(made.ok());
    return made->text;
  }

  static catalog::AccessScope OwnScope() { return {.hosts = {"hosts/h1"}, .policies = {"policies/own"}, .labels = {}}; }

  // A call of any unary method, as REST makes it: from the edge, with a token.
  grpc::Status CallAs(const std::string& token, const MethodFacts& method, const Message& request,
                      Message* response = nullptr, const std::string& edge = kTestEdgeSecret) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    if (!edge.empty()) context.AddMetadata(kEdgeMetadata, edge);
    if (!token.empty()) context.AddMetadata(kAuthorizationMetadata, "Bearer " + token);
    context.AddMetadata(kPeerMetadata, "192.0.2.7");
    grpc::Slice bytes(request.SerializeAsString());
    grpc::ByteBuffer sent(&bytes, 1);
    grpc::ByteBuffer received;
    grpc::Status status;
    absl::Notification done;
    generic_->UnaryCall(&context, "/" + method.name, grpc::StubOptions(), &sent, &received, [&](grpc::Status ended) {
      status = std::move(ended);
      done.Notify();
    });
    done.WaitForNotification();
    if (status.ok() && response != nullptr) {
      grpc::Slice whole;
      EXPECT_TRUE(received.DumpToSingleSlice(&whole).ok());
      EXPECT_TRUE(response->ParseFromArray(whole.begin(), static_cast<int>(whole.size())));
    }
    return status;
  }

  template <typename Request>
  static const MethodFacts& MethodFor() {
    return MethodOf(*Request::descriptor());
  }

  // Requests that name what is on host `h1` or `h2`, made from the paths that REST gives the method.
  std::vector<std::unique_ptr<Message>> RequestsFor(const MethodFacts& method, bool own) {
    std::vector<std::unique_ptr<Message>> requests;
    if (method.descriptor->input_type() == v1::CreateJobRequest::descriptor()) return JobRequests(own);
    requests.emplace_back(google::protobuf::MessageFactory::generated_factory()
                              ->GetPrototype(method.descriptor->input_type())
                              ->New());
    const google::api::HttpRule rule = method.descriptor->options().GetExtension(google::api::http);
    const std::string path = rule.get() + rule.post() + rule.patch() + rule.put() + rule.delete_();
    static const std::regex variable(R"(\{([a-z_.]+)=([^}]+)\})");
    for (std::sregex_iterator it(path.begin(), path.end(), variable), end; it != end; ++it) {
      SetString(*requests[0], (*it)[1], Filled((*it)[2], own));
    }
    return requests;
  }

  std::vector<std::unique_ptr<Message>> JobRequests(bool own) {
    const std::string host = own ? "hosts/h1" : "hosts/h2";
    auto backup = std::make_unique<v1::CreateJobRequest>();
    backup->mutable_job()->mutable_backup()->add_virtual_machines(host + "/virtualMachines/u1");
    auto restore = std::make_unique<v1::CreateJobRequest>();
    restore->mutable_job()->mutable_restore()->set_recovery_point(own ? "recoveryPoints/p1" : "recoveryPoints/p2");
    auto verify = std::make_unique<v1::CreateJobRequest>();
    verify->mutable_job()->mutable_verify()->set_recovery_point(own ? "recoveryPoints/p1" : "recoveryPoints/p2");
    auto prune = std::make_unique<v1::CreateJobRequest>();
    prune->mutable_job()->mutable_prune()->set_repository("repositories/main");
    std::vector<std::unique_ptr<Message>> all;
    all.push_back(std::move(backup));
    all.push_back(std::move(restore));
    all.push_back(std::move(verify));
    all.push_back(std::move(prune));
    return all;
  }

  static void SetString(Message& message, const std::string& path, const std::string& value) {
    const size_t dot = path.find('.');
    const auto* field = message.GetDescriptor()->FindFieldByName(path.substr(0, dot));
    ASSERT_NE(field, nullptr) << path;
    if (dot == std::string::npos) return message.GetReflection()->SetString(&message, field, value);
    SetString(*message.GetReflection()->MutableMessage(&message, field), path.substr(dot + 1), value);
  }

  // "hosts/*/virtualMachines/*" as "hosts/h1/virtualMachines/u1".
  std::string Filled(const std::string& pattern, bool own) {
    if (pattern.starts_with("jobs/")) return jobs_of_[own ? "h1" : "h2"];
    static const std::map<std::string, std::pair<std::string, std::string>> ids = {
        {"hosts", {"h1", "h2"}},          {"virtualMachines", {"u1", "u1"}},  {"recoveryPoints", {"p1", "p2"}},
        {"policies", {"own", "foreign"}}, {"repositories", {"main", "main"}}};
    std::string name, collection;
    const std::vector<std::string> parts = absl::StrSplit(pattern, '/');
    for (const std::string& part : parts) {
      const auto known = ids.find(collection);
      std::string text = part;
      if (text == "*") text = known == ids.end() ? "x" : own ? known->second.first : known->second.second;
      name += (name.empty() ? "" : "/") + text;
      collection = part;
    }
    return name;
  }

  std::vector<identity::AuditEntry> Audit() { return audit_->List({}, {.page_size = 1000, .after_key = {}})->items; }

  std::map<std::string, std::string> jobs_of_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<grpc::GenericStub> generic_;
};

// ---- What the protos say ----

TEST(Methods, EachSaysWhoMayCallItInExactlyOneWay) {
  for (const MethodFacts& method : AllMethods()) {
    const v1::Access& access = method.access;
    EXPECT_EQ(int{!access.permission().empty()} + int{access.anyone()} + int{access.signed_in()}, 1) << method.name;
    EXPECT_TRUE(!access.everything() || !access.permission().empty()) << method.name;
    EXPECT_TRUE(access.permission().empty() || identity::IsPermission(access.permission())) << method.name;
  }
}

TEST(Methods, EveryPermissionIsNeededSomewhere) {
  std::set<std::string> needed;
  for (const MethodFacts& method : AllMethods()) needed.insert(method.access.permission());
  const google::protobuf::Descriptor* job = v1::Job::descriptor();
  for (int i = 0; i < job->field_count(); ++i) needed.insert(job->field(i)->options().GetExtension(v1::needs));
  needed.insert("users.view");  // asked for by methods themselves
  for (const identity::Permission& permission : identity::kPermissions) {
    EXPECT_TRUE(needed.contains(std::string(permission.name))) << permission.name;
  }
}

TEST(Methods, EveryMethodHasAPathForRest) {
  for (const MethodFacts& method : AllMethods()) {
    EXPECT_TRUE(method.descriptor->options().HasExtension(google::api::http)) << method.name;
  }
}

TEST(Methods, WhatIsSensitiveIsNotShown) {
  v1::CreateUserRequest request;
  request.mutable_user()->set_name("users/alice");
  request.set_password("correct horse battery");
  EXPECT_THAT(WithoutSecrets(request), HasSubstr("users/alice"));
  EXPECT_THAT(WithoutSecrets(request), Not(HasSubstr("horse")));
  v1::CreateRepositoryKeyRequest key;
  key.set_passphrase("correct horse battery");
  EXPECT_EQ(WithoutSecrets(key), "{}");
}

// ---- The matrix ----

// Not in this house. The whole daemon's methods are called by the end-to-end tests.
bool IsAbsent(const MethodFacts& method) {
  return method.descriptor->service()->name() == "CatalogService";
}

bool Has(const std::vector<std::string>& patterns, const std::string& permission) {
  const std::string group = permission.substr(0, permission.find('.')) + ".*";
  for (const std::string& pattern : patterns) {
    if (pattern == "*" || pattern == group || pattern == permission) return true;
  }
  return false;
}

// What shall come of it, told without the code that decides it.
bool Expected(const MethodFacts& method, const Message& request, const std::vector<std::string>& permissions,
              bool limited, bool own) {
  if (method.access.anyone() || method.access.signed_in()) return true;
  std::string permission = method.access.permission();
  bool of_the_system = method.access.everything();
  if (const auto* create = dynamic_cast<const v1::CreateJobRequest*>(&request)) {
    if (create->job().has_restore()) permission = "restores.run";
    if (create->job().has_verify() || create->job().has_prune()) permission = "maintenance.run";
    of_the_system = create->job().has_prune();
  }
  if (!Has(permissions, permission)) return false;
  if (!limited) return true;
  if (of_the_system) return false;
  const bool shows_what_may_be_seen = method.descriptor->name().starts_with("List") &&
                                      method.descriptor->output_type()->FindFieldByName("next_page_token") != nullptr;
  const google::api::HttpRule rule = method.descriptor->options().GetExtension(google::api::http);
  const std::string path = rule.get() + rule.post() + rule.patch() + rule.delete_();
  const bool names_something = path.find('{') != std::string::npos || path == "/v1/jobs";
  if (shows_what_may_be_seen || (method.descriptor->server_streaming() && !names_something)) return true;
  return names_something && own;
}

// Every method, every role, for everything and limited to one host, on own and foreign objects. What is refused, and
// what only reads, is called for real as well, from the socket and from REST's edge.
TEST_F(DoorTest, MatrixOfPermissions) {
  int checks = 0, failed = 0;
  const auto check = [&](bool fine, const std::string& what) {
    ++checks;
    if (fine) return;
    ++failed;
    ADD_FAILURE() << what;
  };
  identity::Role auditor;
  auditor.name = "auditor";
  auditor.permissions = {"audit.view", "users.view"};
  ASSERT_TRUE(identity_->CreateRole(identity::Identity::Local(), auditor).ok());
  std::vector<std::pair<std::string, std::vector<std::string>>> roles = {{auditor.name, auditor.permissions}};
  for (const identity::BuiltInRole& role : identity::BuiltInRoles()) {
    roles.emplace_back(std::string(role.name), role.permissions);
  }
  for (const auto& [role, permissions] : roles) {
    for (const bool limited : {false, true}) {
      const std::string token = TokenWith({{role, limited ? OwnScope() : catalog::AccessScope()}});
      const auto principal = identity_->Authenticate({"Bearer " + token, "", "192.0.2.7"});
      ASSERT_TRUE(principal.ok());
      for (const MethodFacts& method : AllMethods()) {
        for (const bool own : {true, false}) {
          for (const auto& request : RequestsFor(method, own)) {
            const std::string what = fmt::format("{} {} {} as {}{}", method.name, request->ShortDebugString(),
                                                 own ? "own" : "foreign", role, limited ? " of h1" : "");
            const bool expected = Expected(method, *request, permissions, limited, own);
            check(door_->Admit(*principal, method, *request).ok() == expected, what);
            if (IsAbsent(method) || method.descriptor->server_streaming()) continue;
            // Who is signed in is asked more by these themselves: identity_calls_test.
            if (expected && (!method.reads || method.access.signed_in())) continue;
            for (const std::string edge : {"", kTestEdgeSecret}) {
              const std::string outcome = Outcome(CallAs(token, method, *request, nullptr, edge));
              check((outcome == "PERMISSION_DENIED PERMISSION_DENIED") == !expected && outcome != "UNIMPLEMENTED",
                    what + ": " + outcome);
            }
          }
        }
      }
    }
  }
  std::printf("matrix: %d checks, %d passed, %d failed\n", checks, checks - failed, failed);
}

TEST_F(DoorTest, NobodyGetsThroughTheEdgeWithoutACredentialOrWithAWrongOne) {
  for (const MethodFacts& method : AllMethods()) {
    if (method.access.anyone() || method.descriptor->server_streaming()) continue;
    const auto requests = RequestsFor(method, true);
    if (IsAbsent(method)) continue;
    EXPECT_EQ(Outcome(CallAs("", method, *requests[0])), "UNAUTHENTICATED UNAUTHENTICATED") << method.name;
    EXPECT_EQ(Outcome(CallAs("umbra_nonsense", method, *requests[0])), "UNAUTHENTICATED UNAUTHENTICATED");
    EXPECT_EQ(Outcome(CallAs("umbra_nonsense", method, *requests[0], nullptr, "")), "UNAUTHENTICATED UNAUTHENTICATED");
  }
}

TEST_F(DoorTest, AnEdgeWithAWrongSecretIsNobodyEvenWithAGoodToken) {
  const std::string token = TokenWith({{"admin", {}}});
  const MethodFacts& method = MethodFor<v1::ListHostsRequest>();
  EXPECT_EQ(Outcome(CallAs(token, method, v1::ListHostsRequest(), nullptr, "guessed")), "UNAUTHENTICATED UNAUTHENTICATED");
  EXPECT_EQ(Outcome(CallAs(token, method, v1::ListHostsRequest())), "OK");
}

TEST_F(DoorTest, TheSocketMayDoEverythingUnlessATokenIsShown) {
  const MethodFacts& method = MethodFor<v1::DrainHostRequest>();
  v1::DrainHostRequest request;
  request.set_name("hosts/h1");
  EXPECT_EQ(Outcome(CallAs("", method, request, nullptr, "")), "OK");
  EXPECT_EQ(Outcome(CallAs(TokenWith({{"viewer", {}}}), method, request, nullptr, "")), "PERMISSION_DENIED PERMISSION_DENIED");
}

// ---- What is somebody else's ----

TEST_F(DoorTest, ListsShowOnlyWhatTheCallerMaySee) {
  const std::string token = TokenWith({{"viewer", OwnScope()}});
  v1::ListHostsResponse hosts;
  ASSERT_EQ(Outcome(CallAs(token, MethodFor<v1::ListHostsRequest>(), v1::ListHostsRequest(), &hosts)), "OK");
  ASSERT_EQ(hosts.hosts_size(), 1);
  EXPECT_EQ(hosts.hosts(0).name(), "hosts/h1");
  v1::ListJobsResponse jobs;
  ASSERT_EQ(Outcome(CallAs(token, MethodFor<v1::ListJobsRequest>(), v1::ListJobsRequest(), &jobs)), "OK");
  ASSERT_EQ(jobs.jobs_size(), 1);
  EXPECT_EQ(jobs.jobs(0).name(), jobs_of_["h1"]);
  v1::ListRecoveryPointsResponse points;
  ASSERT_EQ(Outcome(CallAs(token, MethodFor<v1::ListRecoveryPointsRequest>(), v1::ListRecoveryPointsRequest(), &points)), "OK");
  ASSERT_EQ(points.recovery_points_size(), 1);
  EXPECT_EQ(points.recovery_points(0).name(), "recoveryPoints/p1");
  v1::ListEventsResponse events;
  ASSERT_EQ(Outcome(CallAs(token, MethodFor<v1::ListEventsRequest>(), v1::ListEventsRequest(), &events)), "OK");
  EXPECT_GT(events.events_size(), 0);
  for (const v1::Event& event : events.events()) EXPECT_NE(event.resource(), jobs_of_["h2"]);
}

TEST_F(DoorTest, LabelsLimitAGrant) {
  ASSERT_TRUE(catalog_->Write([&](catalog::Stores& s) { return s.labels.Set({catalog::HostId("h2"), "u1"}, {{"env", "test"}}); }).ok());
  const std::string token = TokenWith({{"operator", {.hosts = {}, .policies = {}, .labels = {"env=test"}}}});
  v1::GetVirtualMachineRequest request;
  request.set_name("hosts/h2/virtualMachines/u1");
  EXPECT_EQ(Outcome(CallAs(token, MethodFor<v1::GetVirtualMachineRequest>(), request)), "OK");
  request.set_name("hosts/h1/virtualMachines/u1");
  EXPECT_EQ(Outcome(CallAs(token, MethodFor<v1::GetVirtualMachineRequest>(), request)), "PERMISSION_DENIED PERMISSION_DENIED");
}

// A machine has its host's labels, but for those that it has itself.
TEST_F(DoorTest, LabelsOfAHostReachItsMachines) {
  ASSERT_TRUE(catalog_->Write([&](catalog::Stores& s) -> absl::Status {
    RETURN_IF_ERROR(s.labels.Set({catalog::HostId("h1"), ""}, {{"env", "test"}}));
    RETURN_IF_ERROR(s.labels.Set({catalog::HostId("h2"), ""}, {{"env", "test"}}));
    return s.labels.Set({catalog::HostId("h2"), "u1"}, {{"env", "prod"}});
  }).ok());
  const std::string token = TokenWith({{"operator", {.hosts = {}, .policies = {}, .labels = {"env=test"}}}});
  v1::GetVirtualMachineRequest request;
  request.set_name("hosts/h1/virtualMachines/u1");
  EXPECT_EQ(Outcome(CallAs(token, MethodFor<v1::GetVirtualMachineRequest>(), request)), "OK");
  request.set_name("hosts/h2/virtualMachines/u1");
  EXPECT_EQ(Outcome(CallAs(token, MethodFor<v1::GetVirtualMachineRequest>(), request)), "PERMISSION_DENIED PERMISSION_DENIED");
  v1::GetHostRequest host;
  host.set_name("hosts/h2");
  EXPECT_EQ(Outcome(CallAs(token, MethodFor<v1::GetHostRequest>(), host)), "OK");
}

TEST_F(DoorTest, AJobOfTwoHostsIsForWhoMayHaveBoth) {
  const std::string token = TokenWith({{"operator", OwnScope()}});
  const v1::CreateJobRequest both = BackupOf({"hosts/h1/virtualMachines/u1", "hosts/h2/virtualMachines/u1"});
  EXPECT_EQ(Outcome(CallAs(token, MethodFor<v1::CreateJobRequest>(), both)), "PERMISSION_DENIED PERMISSION_DENIED");
  v1::CreateJobRequest elsewhere;
  elsewhere.mutable_job()->mutable_restore()->set_recovery_point("recoveryPoints/p1");
  elsewhere.mutable_job()->mutable_restore()->set_target_host("hosts/h2");
  const std::string restorer = TokenWith({{"restore-operator", OwnScope()}});
  EXPECT_EQ(Outcome(CallAs(restorer, MethodFor<v1::CreateJobRequest>(), elsewhere)), "PERMISSION_DENIED PERMISSION_DENIED");
}

TEST_F(DoorTest, WhatIsNotThereIsRefusedLikeWhatIsForeign) {
  const std::string token = TokenWith({{"viewer", OwnScope()}});
  v1::GetJobRequest request;
  request.set_name("jobs/nosuchjob");
  EXPECT_EQ(Outcome(CallAs(token, MethodFor<v1::GetJobRequest>(), request)), "PERMISSION_DENIED PERMISSION_DENIED");
  EXPECT_EQ(Outcome(CallAs(TokenWith({{"viewer", {}}}), MethodFor<v1::GetJobRequest>(), request)), "NOT_FOUND JOB_NOT_FOUND");
}

TEST_F(DoorTest, AStreamLeavesOutWhatIsForeignAndEndsWithItsToken) {
  const auto made = identity_->CreateToken(identity::Identity::Local(), {"", "a test", {{"viewer", OwnScope()}}, {}});
  ASSERT_TRUE(made.ok());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  context.AddMetadata(kEdgeMetadata, kTestEdgeSecret);
  context.AddMetadata(kAuthorizationMetadata, "Bearer " + made->text);
  v1::WatchEventsRequest request;
  const auto stream = log_->WatchEvents(&context, request);
  std::set<std::string> resources;
  v1::Event event;
  while (!resources.contains(jobs_of_["h1"]) && stream->Read(&event)) resources.insert(event.resource());
  EXPECT_THAT(resources, Contains(jobs_of_["h1"]));
  EXPECT_THAT(resources, Not(Contains(jobs_of_["h2"])));
  ASSERT_TRUE(identity_->RevokeToken(made->token.id).ok());
  ASSERT_TRUE(engine_->Cancel(*ParseJobName(jobs_of_["h1"], "name")).ok());  // wakes the stream
  while (stream->Read(&event)) {
  }
  EXPECT_EQ(Outcome(stream->Finish()), "UNAUTHENTICATED UNAUTHENTICATED");
}

TEST_F(DoorTest, AStreamEndsWithItsTokenAlsoWhereNothingHappens) {
  StreamGuard guard(*door_, streams_, clock_);
  const auto revoked =
      identity_->CreateToken(identity::Identity::Local(), {"", "is revoked", {{"viewer", OwnScope()}}, {}});
  ASSERT_TRUE(revoked.ok());
  const auto end_of = [&](const std::string& token, absl::FunctionRef<void()> begun) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    context.AddMetadata(kEdgeMetadata, kTestEdgeSecret);
    context.AddMetadata(kAuthorizationMetadata, "Bearer " + token);
    v1::WatchEventsRequest request;
    const auto stream = log_->WatchEvents(&context, request);
    v1::Event event;
    EXPECT_TRUE(stream->Read(&event));
    begun();
    while (stream->Read(&event)) continue;
    return Outcome(stream->Finish());
  };
  EXPECT_EQ(end_of(revoked->text, [&] { ASSERT_TRUE(identity_->RevokeToken(revoked->token.id).ok()); }),
            "UNAUTHENTICATED UNAUTHENTICATED");
  const absl::Time start = clock_.Now();
  const auto expiring = identity_->CreateToken(identity::Identity::Local(),
                                               {"", "expires", {{"viewer", OwnScope()}}, start + absl::Seconds(3)});
  ASSERT_TRUE(expiring.ok());
  EXPECT_EQ(end_of(expiring->text, [] {}), "UNAUTHENTICATED TOKEN_EXPIRED");
  EXPECT_GE(clock_.Now(), start + absl::Seconds(3));
  EXPECT_LT(clock_.Now(), start + absl::Seconds(15));
}

TEST_F(DoorTest, AForeignJobCannotBeFollowed) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  context.AddMetadata(kEdgeMetadata, kTestEdgeSecret);
  context.AddMetadata(kAuthorizationMetadata, "Bearer " + TokenWith({{"viewer", OwnScope()}}));
  v1::WatchJobRequest request;
  request.set_name(jobs_of_["h2"]);
  const auto stream = jobs_->WatchJob(&context, request);
  v1::Job job;
  EXPECT_FALSE(stream->Read(&job));
  EXPECT_EQ(Outcome(stream->Finish()), "PERMISSION_DENIED PERMISSION_DENIED");
}

// ---- The audit log ----

TEST_F(DoorTest, ChangesAndRefusalsAreWrittenDownReadsAreNot) {
  const size_t before = Audit().size();
  const std::string token = TokenWith({{"operator", OwnScope()}});
  ASSERT_EQ(Outcome(CallAs(token, MethodFor<v1::ListHostsRequest>(), v1::ListHostsRequest())), "OK");
  EXPECT_EQ(Audit().size(), before);
  v1::DeleteHostRequest remove;
  remove.set_name("hosts/h2");
  ASSERT_EQ(Outcome(CallAs(token, MethodFor<v1::DeleteHostRequest>(), remove)), "PERMISSION_DENIED PERMISSION_DENIED");
  v1::CancelJobRequest cancel;
  cancel.set_name(jobs_of_["h1"]);
  ASSERT_EQ(Outcome(CallAs(token, MethodFor<v1::CancelJobRequest>(), cancel)), "OK");
  const auto entries = Audit();
  ASSERT_EQ(entries.size(), before + 2);
  EXPECT_EQ(entries[0].method, "umbra.v1.JobService/CancelJob");
  EXPECT_EQ(entries[0].object, jobs_of_["h1"]);
  EXPECT_EQ(entries[0].code, 0);
  EXPECT_EQ(entries[0].peer, "192.0.2.7");
  EXPECT_THAT(entries[0].principal, HasSubstr("serviceTokens/"));
  EXPECT_EQ(entries[1].method, "umbra.v1.HostService/DeleteHost");
  EXPECT_EQ(entries[1].reason, "PERMISSION_DENIED");
  EXPECT_TRUE(audit_->Verify()->sound());
}

}  // namespace
}  // namespace umbra::api

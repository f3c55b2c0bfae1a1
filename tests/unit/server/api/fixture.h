// The public services as a program sees them: real catalog, job engine and repository behind a real unix socket.
#ifndef UMBRA_TESTS_UNIT_SERVER_API_FIXTURE_H_
#define UMBRA_TESTS_UNIT_SERVER_API_FIXTURE_H_

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/api/agent/executor.h"
#include "server/api/agent/stream_set.h"
#include "server/api/disk_content_service.h"
#include "server/api/door.h"
#include "server/api/event_service.h"
#include "server/api/host_service.h"
#include "server/api/file_set_service.h"
#include "server/api/identity_service.h"
#include "server/api/inventory_services.h"
#include "server/api/logging_service.h"
#include "server/api/job_service.h"
#include "server/api/notification_service.h"
#include "server/api/policy_service.h"
#include "server/api/recovery_point_service.h"
#include "server/api/repository_key_service.h"
#include "server/api/repository_service.h"
#include "storage/base/status.h"
#include "tests/support/repository_key.h"
#include "tests/support/temp_dir.h"

namespace umbra::api {

inline constexpr size_t kTestStreamsMax = 8;
inline constexpr char kTestEdgeSecret[] = "the secret of the edge";

// "CODE REASON" of a status, "OK" when it went well.
inline std::string Outcome(const grpc::Status& status) {
  if (status.ok()) return "OK";
  const std::string code = absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details_size() != 1 ||
      !details.details(0).UnpackTo(&info) || info.domain() != "umbra") {
    return code;
  }
  return code + " " + info.reason();
}

class ApiTest : public ::testing::Test {
 protected:
  ApiTest() {
    catalog_ = *catalog::Catalog::Open(files_, dir_.File("catalog.db"));
    events_ = std::make_unique<jobs::EventHub>(*catalog_, clock_);
    engine_ = std::make_unique<jobs::JobEngine>(*catalog_, clock_, random_);
    authority_ = *tls::CertificateAuthority::Open(files_, clock_, random_, dir_.path());
    enrolment_ = std::make_unique<auth::Enrolment>(*catalog_, clock_, random_, *authority_);
    std::vector<maintenance::OpenRepository> repositories;
    for (const std::string id : {"main", "archive"}) {
      repositories.push_back(
          {catalog::RepositoryId(id), dir_.File(id),
           *repo::Repository::OpenOrCreate(files_, clock_, random_, dir_.File(id), testing::WithTestKey())});
    }
    repositories_ = std::make_unique<maintenance::RepositorySet>(std::move(repositories));
    scheduler_ = std::make_unique<policies::Scheduler>(*catalog_, *engine_, clock_);
    board_ = std::make_unique<policies::CoverageBoard>(*catalog_, clock_);
    board_->Start();
    notifications_ = std::make_unique<notifications::Notifications>(
        *catalog_, *events_, files_, clock_, random_, std::vector<notifications::StateCheck>(),
        notifications::Options{"backup1", "umbrad/test", dir_.File("secrets")});
    identity_ = std::make_unique<identity::Identity>(*catalog_, files_, clock_, random_, dir_.path());
    audit_ = std::make_unique<identity::AuditLog>(*catalog_, clock_);
    door_ = std::make_unique<Door>(executor_, *catalog_, clock_, *identity_, *audit_, kTestEdgeSecret);
    StartServer();
  }

  ~ApiTest() override { StopServer(); }

  void StopServer() {
    if (server_ == nullptr) return;
    streams_.StopAll();
    server_->Shutdown();
    server_->Wait();
    server_.reset();
  }

  catalog::HostId AddHost(const std::string& id) {
    catalog::Host host;
    host.id = catalog::HostId(id);
    host.display_name = "name of " + id;
    host.certificate_fingerprint = "fingerprint of " + id;
    host.create_time = host.last_seen_time = clock_.Now();
    UMBRA_CHECK(catalog_->Write([&](catalog::Stores& s) { return s.hosts.Insert(host); }).ok());
    return host.id;
  }

  static catalog::Vm MakeVm(const catalog::HostId& host, const std::string& uuid, int disks = 1) {
    catalog::Vm vm;
    vm.key = {host, uuid};
    vm.display_name = "vm " + uuid;
    vm.state = catalog::VmState::kRunning;
    vm.mechanism = catalog::BackupMechanism::kCrashConsistent;
    vm.mechanism_reason = "GUEST_AGENT_NOT_CONFIGURED";
    for (int i = 0; i < disks; ++i)
      vm.disks.push_back({"vd" + std::string(1, 'a' + i), "/d", "qcow2", 1 << 20, 1 << 19});
    if (disks == 0) vm.excluded_disks.push_back({"vda", "DISK_NETWORK", "vda is a network disk"});
    return vm;
  }

  void SetInventory(const catalog::HostId& host, const std::vector<catalog::Vm>& vms) {
    catalog::Writer writer;
    writer.writer_id = "66841cd4-6ded-4f4b-8f17-fd23f8ddc3de";
    writer.display_name = "a writer";
    writer.state = "STABLE";
    UMBRA_CHECK(catalog_->Write([&](catalog::Stores& s) { return s.vms.ReplaceInventory(host, vms, {writer}); }).ok());
  }

  // One host "h1" with the machine "u1".
  void AddOneVm() {
    const catalog::HostId host = AddHost("h1");
    SetInventory(host, {MakeVm(host, "u1")});
  }

  void AddPoint(const std::string& id, const std::string& host = "h1", const std::string& repository = "main",
                absl::Time time = absl::FromUnixSeconds(1'800'000'000)) {
    catalog::RecoveryPoint point;
    point.id = catalog::RecoveryPointId(id);
    point.vm = {catalog::HostId(host), "u1"};
    point.vm_display_name = "vm u1";
    point.repository = catalog::RepositoryId(repository);
    point.job = catalog::JobId("j0");
    point.point_time = time;
    point.create_time = time + absl::Seconds(1);
    point.mechanism = catalog::BackupMechanism::kChildSnapshot;
    point.disks.push_back({"vda", 1 << 20, 1 << 18, "qcow2", "/d"});
    point.configuration = "<domain/>";
    point.documents.push_back({"vss.backup-components", "<components/>"});
    UMBRA_CHECK(catalog_->Write([&](catalog::Stores& s) { return s.recovery_points.Insert(point); }).ok());
  }

  static v1::CreateJobRequest BackupOf(const std::vector<std::string>& vms) {
    v1::CreateJobRequest request;
    for (const std::string& vm : vms) request.mutable_job()->mutable_backup()->add_virtual_machines(vm);
    return request;
  }

  // The id of a new backup of h1's u1.
  catalog::JobId Submit() {
    return engine_
        ->Submit(catalog::BackupSpec{
            {{catalog::HostId("h1"), "u1"}}, catalog::RepositoryId("main"), false, absl::Seconds(10)})
        ->id;
  }

  void Apply(const catalog::JobId& id, jobs::JobEvent event, const jobs::EventFacts& facts = {}) {
    const auto applied = engine_->Apply(id, jobs::kCurrentAttempt, event, facts);
    EXPECT_TRUE(applied.ok()) << base::Describe(applied.status());
  }

  // Calls `Stub::*method` with a deadline, so that a call that hangs fails its test.
  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(const std::unique_ptr<Stub>& stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return (stub.get()->*method)(&context, request, response);
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<jobs::EventHub> events_;
  std::unique_ptr<jobs::JobEngine> engine_;
  std::unique_ptr<tls::CertificateAuthority> authority_;
  std::unique_ptr<auth::Enrolment> enrolment_;
  std::unique_ptr<maintenance::RepositorySet> repositories_;
  std::unique_ptr<policies::Scheduler> scheduler_;  // runs when a test says so
  std::unique_ptr<policies::CoverageBoard> board_;
  std::unique_ptr<notifications::Notifications> notifications_;  // works when a test starts it
  dispatch::AgentRegistry agents_;
  Executor executor_{2};
  std::unique_ptr<identity::Identity> identity_;
  std::unique_ptr<identity::AuditLog> audit_;
  std::unique_ptr<Door> door_;
  SlowCalls slow_calls_;
  StreamSet streams_{kTestStreamsMax};
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;

  std::unique_ptr<v1::HostService::Stub> hosts_;
  std::unique_ptr<v1::VirtualMachineService::Stub> vms_;
  std::unique_ptr<v1::WriterService::Stub> writers_;
  std::unique_ptr<v1::FileSetService::Stub> file_sets_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::RecoveryPointService::Stub> points_;
  std::unique_ptr<v1::RepositoryService::Stub> repos_;
  std::unique_ptr<v1::RepositoryKeyService::Stub> keys_;
  std::unique_ptr<v1::EventService::Stub> log_;
  std::unique_ptr<v1::PolicyService::Stub> policies_;
  std::unique_ptr<v1::NotificationService::Stub> channels_;

 private:
  void StartServer() {
    services_.push_back(std::make_unique<HostService>(*door_, *catalog_, clock_, *engine_, *enrolment_, agents_,
                                                      "backup.example:7441"));
    services_.push_back(std::make_unique<VirtualMachineService>(*door_, *catalog_, clock_, agents_));
    services_.push_back(std::make_unique<WriterService>(*door_, *catalog_));
    services_.push_back(std::make_unique<FileSetService>(*door_, *catalog_));
    services_.push_back(std::make_unique<JobService>(*door_, *catalog_, *engine_, *repositories_, streams_));
    services_.push_back(std::make_unique<RecoveryPointService>(*door_, *catalog_, clock_, *repositories_,
                                                               absl::Hours(48)));
    services_.push_back(
        std::make_unique<PolicyService>(*door_, *catalog_, clock_, *repositories_, *scheduler_, *board_));
    services_.push_back(std::make_unique<NotificationService>(*door_, *catalog_, clock_, *notifications_));
    services_.push_back(std::make_unique<RepositoryService>(*door_, *catalog_, clock_, *repositories_));
    services_.push_back(std::make_unique<RepositoryKeyService>(*door_, random_, *repositories_));
    services_.push_back(std::make_unique<UserService>(*door_, slow_calls_, *identity_));
    services_.push_back(std::make_unique<RoleService>(*door_, *identity_));
    services_.push_back(std::make_unique<TokenService>(*door_, *identity_));
    services_.push_back(std::make_unique<SessionService>(*door_, slow_calls_, *identity_));
    services_.push_back(std::make_unique<AuditService>(*door_, slow_calls_, *audit_));
    services_.push_back(std::make_unique<LoggingService>(*door_));
    services_.push_back(std::make_unique<DiskContentService>(*door_, *catalog_, *repositories_, streams_));
    services_.push_back(std::make_unique<EventService>(*door_, *catalog_, *events_, streams_));
    grpc::ServerBuilder builder;
    const std::string address = "unix:" + dir_.File("s");
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    for (const auto& service : services_) builder.RegisterService(service.get());
    server_ = builder.BuildAndStart();
    UMBRA_CHECK(server_ != nullptr);
    const auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
    hosts_ = v1::HostService::NewStub(channel);
    vms_ = v1::VirtualMachineService::NewStub(channel);
    writers_ = v1::WriterService::NewStub(channel);
    file_sets_ = v1::FileSetService::NewStub(channel);
    jobs_ = v1::JobService::NewStub(channel);
    points_ = v1::RecoveryPointService::NewStub(channel);
    repos_ = v1::RepositoryService::NewStub(channel);
    keys_ = v1::RepositoryKeyService::NewStub(channel);
    log_ = v1::EventService::NewStub(channel);
    policies_ = v1::PolicyService::NewStub(channel);
    channels_ = v1::NotificationService::NewStub(channel);
  }
};

}  // namespace umbra::api

#endif  // UMBRA_TESTS_UNIT_SERVER_API_FIXTURE_H_

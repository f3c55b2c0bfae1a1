// The daemon as an agent sees it: real catalog, job engine, dispatcher, repository and authority, and both agent ports over
// real TLS on loopback; and an agent that does what the test says.
#ifndef UMBRA_TESTS_UNIT_SERVER_AGENT_API_AGENT_PORT_H_
#define UMBRA_TESTS_UNIT_SERVER_AGENT_API_AGENT_PORT_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/api/agent/agent_link_service.h"
#include "server/api/agent/enrolment_service.h"
#include "server/api/agent/store_service.h"
#include "server/auth/enrolment.h"
#include "server/auth/renewal.h"
#include "server/dispatch/dispatcher.h"
#include "server/jobs/event_hub.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temp_dir.h"
#include "umbra/agent/v1/agent_link.grpc.pb.h"
#include "umbra/agent/v1/enrolment.grpc.pb.h"
#include "umbra/store/v1/store.grpc.pb.h"

namespace umbra::api {

bool Eventually(const std::function<bool()>& condition);
std::string VmUuid(int n);

// google.rpc.ErrorInfo.reason of a status; empty when it has none.
std::string ReasonOf(const grpc::Status& status);

struct Identity {
  std::string host_id;
  std::string key_pem;
  std::string certificate_pem;
  std::string authority_pem;
};

class Daemon {
 public:
  Daemon();
  ~Daemon();

  // Ends streams and server as the daemon does. Called by the destructor as well.
  void Stop();

  // The secret part of a new token.
  std::string MakeToken(const std::string& host_pattern = "", absl::Duration lifetime = absl::Hours(1));
  grpc::Status TryEnrol(const std::string& secret, const std::string& host_name, Identity* identity = nullptr);
  Identity Enrol(const std::string& host_name);

  std::shared_ptr<grpc::Channel> Connect(const Identity& identity, const grpc::ChannelArguments& arguments = {});

  catalog::JobId SubmitBackup(const Identity& host, const std::vector<int>& vms);
  catalog::JobId SubmitRestore(const Identity& host, const std::string& recovery_point);
  catalog::Job Get(const catalog::JobId& id);
  bool Reaches(const catalog::JobId& id, catalog::JobState state);
  size_t PointsInCatalog();
  size_t PointsInRepository();

  testing::TempDir dir;
  base::PosixFilesystem files;
  testing::ManualClock clock;
  base::SystemClock steady;  // the repository's limit of uploads counts real time
  base::SystemRandom random;
  std::unique_ptr<catalog::Catalog> catalog;
  std::unique_ptr<jobs::EventHub> events;
  std::unique_ptr<jobs::JobEngine> engine;
  std::unique_ptr<tls::CertificateAuthority> authority;
  std::unique_ptr<auth::Enrolment> enrolment;
  std::unique_ptr<auth::Renewal> renewal;
  std::unique_ptr<maintenance::RepositorySet> repositories;
  dispatch::AgentRegistry registry;
  dispatch::AssignmentTable assignments;
  std::unique_ptr<dispatch::Dispatcher> dispatcher;
  std::unique_ptr<StoreService> store;
  std::unique_ptr<AgentLinkService> link;
  std::unique_ptr<EnrolmentService> enrolment_service;

 private:
  void OpenStorage();
  void StartServers();

  std::unique_ptr<grpc::Server> agent_server_;
  std::unique_ptr<grpc::Server> enrolment_server_;
  int agent_port_ = 0;
  int enrolment_port_ = 0;
};

// One control stream; reads all the time unless told not to.
class Link {
 public:
  Link(std::shared_ptr<grpc::Channel> channel, bool read = true);
  ~Link();

  bool Say(const agent::v1::AgentMessage& message) { return stream_->Write(message); }
  void SayHello(const std::vector<dispatch::AssignmentKey>& running = {}, const std::string& process = "p1");
  void SayAccepted(const dispatch::AssignmentKey& key);
  void SayResult(const dispatch::AssignmentKey& key, agent::v1::AssignmentResult::Outcome outcome,
                 const std::string& reason = "");
  void SayNothingMore() { stream_->WritesDone(); }

  // The next message of this kind; others before it are dropped. Fails the test after some seconds.
  agent::v1::DaemonMessage Await(agent::v1::DaemonMessage::MessageCase kind);
  // Waits for an assignment and accepts it.
  dispatch::AssignmentKey AcceptAssignment();

  void StartReading();
  void Cut() { context_.TryCancel(); }
  // Waits for the end of the stream.
  grpc::Status End();
  size_t received();

 private:
  void Read();

  std::unique_ptr<agent::v1::AgentLinkService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<agent::v1::AgentMessage, agent::v1::DaemonMessage>> stream_;
  absl::Mutex mu_;
  std::deque<agent::v1::DaemonMessage> queue_ ABSL_GUARDED_BY(mu_);
  size_t received_ ABSL_GUARDED_BY(mu_) = 0;
  bool over_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<grpc::Status> status_;
  std::jthread reader_;
};

// A disk in memory, and what an agent makes of it.
struct Disk {
  std::string content;
  std::vector<std::string> ids;     // raw; 32 zero bytes for zero chunks
  std::vector<store::v1::Chunk> chunks;  // those that aren't zero, compressed
  std::string map() const;
};
Disk MakeDisk(const store::v1::OpenSessionResponse& session, size_t chunk_count, uint64_t seed);

// The data calls of one agent.
class Data {
 public:
  explicit Data(std::shared_ptr<grpc::Channel> channel) : stub(store::v1::StoreService::NewStub(std::move(channel))) {}

  grpc::Status Open(const dispatch::AssignmentKey& key, store::v1::OpenSessionResponse* response);
  grpc::Status Negotiate(const std::string& session, const std::string& ids, store::v1::NegotiateResponse* response);
  grpc::Status Upload(const std::string& session, const std::vector<store::v1::Chunk>& chunks, size_t per_message,
                      store::v1::UploadResponse* response = nullptr);
  grpc::Status PutMap(const std::string& session, int vm, const Disk& disk);
  // The map of `base` with these runs of `disk` (first chunk, count) in it.
  grpc::Status PutChanges(const std::string& session, int vm, const Disk& disk, const std::string& base,
                          const std::vector<std::pair<int, int>>& runs);
  grpc::Status CheckBase(const std::string& session, int vm, const Disk& disk, const std::string& base,
                         const std::vector<int>& chunks, store::v1::CheckBaseResponse* response);
  // `checkpoint`: changes are tracked from it on.
  grpc::Status Commit(const std::string& session, const std::vector<int>& vms, const Disk& disk,
                      store::v1::CommitResponse* response = nullptr, const std::string& checkpoint = "");
  // The disk as a restore writes it; holes read as zero. `meanwhile` is called when the first part has come.
  grpc::Status Read(const dispatch::AssignmentKey& key, const std::string& point, int64_t first_chunk, std::string* content,
                    const std::function<void()>& meanwhile = nullptr);

  std::unique_ptr<store::v1::StoreService::Stub> stub;
};

}  // namespace umbra::api

#endif  // UMBRA_TESTS_UNIT_SERVER_AGENT_API_AGENT_PORT_H_

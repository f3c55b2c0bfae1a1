#include "tests/unit/server/agent_api/agent_port.h"
#include "tests/support/repository_key.h"

#include <gtest/gtest.h>

#include <random>
#include <utility>

#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/api/agent/port.h"
#include "storage/base/status.h"
#include "storage/repo/chunk.h"
#include "storage/tls/enrolment_token.h"
#include "storage/tls/x509.h"

namespace umbra::api {

using agent::v1::AgentMessage;
using agent::v1::DaemonMessage;
using catalog::JobId;

bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return false;
}

std::string VmUuid(int n) {
  return fmt::format("00000000-0000-0000-0000-{:012}", n);
}

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details_size() == 0) return "";
  return details.details(0).UnpackTo(&info) ? info.reason() : "";
}

// ---- Daemon ----

Daemon::Daemon() {
  OpenStorage();
  dispatch::DispatcherOptions options;
  options.daemon_version = "test";
  options.issue_certificate = [this](const dispatch::Peer& peer,
                                     const std::string& request) -> absl::StatusOr<agent::v1::Certificate> {
    agent::v1::Certificate certificate;
    ASSIGN_OR_RETURN(*certificate.mutable_certificate_pem(),
                     renewal->Renew(peer.host, peer.certificate_fingerprint, request));
    return certificate;
  };
  dispatcher = std::make_unique<dispatch::Dispatcher>(*catalog, *engine, clock, registry, assignments, options);
  store = std::make_unique<StoreService>(*catalog, *engine, assignments, *repositories, random, StoreOptions{});
  link = std::make_unique<AgentLinkService>(*catalog, *dispatcher);
  enrolment_service = std::make_unique<EnrolmentService>(*enrolment, registry, clock, "umbrad.example:7440");
  dispatcher->Start();
  StartServers();
}

void Daemon::OpenStorage() {
  catalog = *catalog::Catalog::Open(files, dir.File("catalog.db"));
  events = std::make_unique<jobs::EventHub>(*catalog, clock);
  engine = std::make_unique<jobs::JobEngine>(*catalog, clock, random);
  authority = *tls::CertificateAuthority::Open(files, clock, random, dir.File("tls"));
  enrolment = std::make_unique<auth::Enrolment>(*catalog, clock, random, *authority);
  renewal = std::make_unique<auth::Renewal>(*catalog, clock, *authority, tls::kAgentLifetime);
  std::vector<maintenance::OpenRepository> open;
  open.push_back({catalog::RepositoryId("main"), dir.File("repo"),
                  *repo::Repository::OpenOrCreate(files, clock, random, dir.File("repo"), testing::WithTestKey()),
                  std::make_unique<base::TokenBucket>(steady, 0)});
  repositories = std::make_unique<maintenance::RepositorySet>(std::move(open));
}

void Daemon::StartServers() {
  const tls::ServerCertificate certificate = *authority->IssueServerCertificate({});
  grpc::ServerBuilder agents;
  SetAgentPortLimits(agents);
  agents.AddListeningPort("127.0.0.1:0", AgentPortCredentials(certificate, authority->certificate_pem()), &agent_port_);
  agents.RegisterService(link.get());
  agents.RegisterService(store.get());
  agent_server_ = agents.BuildAndStart();
  grpc::ServerBuilder strangers;
  SetEnrolmentPortLimits(strangers);
  strangers.AddListeningPort("127.0.0.1:0", EnrolmentPortCredentials(certificate), &enrolment_port_);
  strangers.RegisterService(enrolment_service.get());
  enrolment_server_ = strangers.BuildAndStart();
  UMBRA_CHECK(agent_server_ && enrolment_server_);
}

void Daemon::Stop() {
  if (!agent_server_) return;
  link->Stop();
  store->Stop();
  agent_server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  enrolment_server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  agent_server_->Wait();
  enrolment_server_->Wait();
  agent_server_.reset();
  dispatcher.reset();
}

Daemon::~Daemon() {
  Stop();
}

std::string Daemon::MakeToken(const std::string& host_pattern, absl::Duration lifetime) {
  const auto token = enrolment->CreateToken(lifetime, host_pattern);
  return tls::ParseEnrolmentToken(token->text)->secret;
}

grpc::Status Daemon::TryEnrol(const std::string& secret, const std::string& host_name, Identity* identity) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = authority->certificate_pem();
  const auto channel = grpc::CreateChannel(fmt::format("127.0.0.1:{}", enrolment_port_), grpc::SslCredentials(options));
  const std::string key = *tls::GenerateKey();
  agent::v1::EnrolRequest request;
  request.set_token_secret(secret);
  request.set_host_name(host_name);
  request.set_certificate_request_pem(*tls::MakeCsr(key, host_name));
  agent::v1::EnrolResponse response;
  grpc::ClientContext context;
  const grpc::Status status = agent::v1::EnrolmentService::NewStub(channel)->Enrol(&context, request, &response);
  if (identity != nullptr) *identity = {response.host_id(), key, response.certificate_pem(), response.ca_pem()};
  if (status.ok()) {
    EXPECT_EQ(response.agent_address(), "umbrad.example:7440");
  }
  return status;
}

Identity Daemon::Enrol(const std::string& host_name) {
  Identity identity;
  const grpc::Status status = TryEnrol(MakeToken(), host_name, &identity);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return identity;
}

std::shared_ptr<grpc::Channel> Daemon::Connect(const Identity& identity, const grpc::ChannelArguments& arguments) {
  grpc::SslCredentialsOptions options{authority->certificate_pem(), identity.key_pem, identity.certificate_pem};
  grpc::ChannelArguments own = arguments;
  own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // one connection for each channel
  return grpc::CreateCustomChannel(fmt::format("127.0.0.1:{}", agent_port_), grpc::SslCredentials(options), own);
}

JobId Daemon::SubmitBackup(const Identity& host, const std::vector<int>& vms) {
  catalog::BackupSpec spec;
  for (const int vm : vms) spec.vms.push_back({catalog::HostId(host.host_id), VmUuid(vm)});
  spec.repository = catalog::RepositoryId("main");
  spec.freeze_timeout = absl::Seconds(10);
  const auto job = engine->Submit(spec, {});
  EXPECT_TRUE(job.ok()) << job.status();
  return job->id;
}

JobId Daemon::SubmitRestore(const Identity& host, const std::string& recovery_point) {
  catalog::RestoreSpec spec;
  spec.recovery_point = catalog::RecoveryPointId(recovery_point);
  spec.repository = catalog::RepositoryId("main");
  spec.mode = catalog::RestoreMode::kNew;
  spec.target_host = catalog::HostId(host.host_id);
  spec.display_name = "copy";
  const auto job = engine->Submit(spec, {});
  EXPECT_TRUE(job.ok()) << job.status();
  return job->id;
}

catalog::Job Daemon::Get(const JobId& id) {
  return *engine->Get(id);
}

bool Daemon::Reaches(const JobId& id, catalog::JobState state) {
  return Eventually([&] { return Get(id).state == state; });
}

size_t Daemon::PointsInCatalog() {
  return catalog->Read([](const catalog::Stores& s) { return s.recovery_points.Ids(catalog::RepositoryId("main")); })
      ->size();
}

size_t Daemon::PointsInRepository() {
  return repositories->Default().repository->ListRecoveryPoints()->points.size();
}

// ---- Link ----

namespace {

void SetId(const dispatch::AssignmentKey& key, agent::v1::AssignmentId& id) {
  id.set_job_id(key.job.value);
  id.set_attempt(key.attempt);
}

}  // namespace

Link::Link(std::shared_ptr<grpc::Channel> channel, bool read)
    : stub_(agent::v1::AgentLinkService::NewStub(std::move(channel))), stream_(stub_->Connect(&context_)) {
  if (read) StartReading();
}

Link::~Link() {
  Cut();
  if (reader_.joinable()) reader_.join();
}

void Link::StartReading() {
  reader_ = std::jthread([this] { Read(); });
}

void Link::Read() {
  DaemonMessage message;
  while (stream_->Read(&message)) {
    absl::MutexLock lock(&mu_);
    queue_.push_back(message);
    ++received_;
  }
  status_ = stream_->Finish();
  absl::MutexLock lock(&mu_);
  over_ = true;
}

size_t Link::received() {
  absl::MutexLock lock(&mu_);
  return received_;
}

grpc::Status Link::End() {
  const bool over = Eventually([this] {
    absl::MutexLock lock(&mu_);
    return over_;
  });
  EXPECT_TRUE(over) << "the stream doesn't end";
  return over ? *status_ : grpc::Status::OK;
}

DaemonMessage Link::Await(DaemonMessage::MessageCase kind) {
  DaemonMessage found;
  EXPECT_TRUE(Eventually([&] {
    absl::MutexLock lock(&mu_);
    while (!queue_.empty() && found.message_case() != kind) {
      found = std::move(queue_.front());
      queue_.pop_front();
    }
    return found.message_case() == kind;
  })) << "no message of kind "
      << kind;
  return found;
}

void Link::SayHello(const std::vector<dispatch::AssignmentKey>& running, const std::string& process) {
  AgentMessage message;
  message.mutable_hello()->set_agent_version("0.9");
  message.mutable_hello()->set_process_id(process);
  for (const dispatch::AssignmentKey& key : running) SetId(key, *message.mutable_hello()->add_running());
  Say(message);
}

void Link::SayAccepted(const dispatch::AssignmentKey& key) {
  AgentMessage message;
  SetId(key, *message.mutable_accepted()->mutable_id());
  Say(message);
}

void Link::SayResult(const dispatch::AssignmentKey& key, agent::v1::AssignmentResult::Outcome outcome,
                     const std::string& reason) {
  AgentMessage message;
  SetId(key, *message.mutable_result()->mutable_id());
  message.mutable_result()->set_outcome(outcome);
  message.mutable_result()->mutable_error()->set_reason(reason);
  Say(message);
}

dispatch::AssignmentKey Link::AcceptAssignment() {
  const agent::v1::AssignmentId id = Await(DaemonMessage::kAssignment).assignment().id();
  const dispatch::AssignmentKey key{JobId(id.job_id()), id.attempt()};
  SayAccepted(key);
  return key;
}

// ---- Data ----

std::string Disk::map() const {
  std::string raw;
  for (const std::string& id : ids) raw += id;
  return raw;
}

Disk MakeDisk(const store::v1::OpenSessionResponse& session, size_t chunk_count, uint64_t seed) {
  const repo::ChunkHasher hasher(*repo::ToIdSuite(session.id_suite()), base::AsBytes(session.id_key()));
  const auto size = static_cast<size_t>(session.chunk_size_bytes());
  std::mt19937_64 random(seed);
  std::vector<std::byte> scratch;
  Disk disk;
  for (size_t i = 0; i < chunk_count; ++i) {
    std::string plain(size, '\0');
    if (i % 4 == 3) {  // a hole
      disk.ids.emplace_back(repo::kChunkIdSize, '\0');
      disk.content += plain;
      continue;
    }
    for (size_t at = 0; at < size; at += 64) {  // half of it compresses
      const uint64_t word = random();
      std::memcpy(plain.data() + at, &word, sizeof word);
    }
    const repo::ChunkId id = hasher.Id(base::AsBytes(plain));
    const repo::CompressedChunk compressed = repo::CompressChunk(base::AsBytes(plain), {}, scratch);
    store::v1::Chunk chunk;
    chunk.set_id(id.bytes.data(), id.bytes.size());
    chunk.set_plain_length(static_cast<uint32_t>(size));
    chunk.set_codec(static_cast<uint32_t>(compressed.codec));
    chunk.set_data(compressed.data.data(), compressed.data.size());
    disk.ids.push_back(chunk.id());
    disk.chunks.push_back(std::move(chunk));
    disk.content += plain;
  }
  return disk;
}

grpc::Status Data::Open(const dispatch::AssignmentKey& key, store::v1::OpenSessionResponse* response) {
  store::v1::OpenSessionRequest request;
  request.set_job_id(key.job.value);
  request.set_attempt(key.attempt);
  request.set_repository("main");
  grpc::ClientContext context;
  return stub->OpenSession(&context, request, response);
}

grpc::Status Data::Negotiate(const std::string& session, const std::string& ids,
                             store::v1::NegotiateResponse* response) {
  store::v1::NegotiateRequest request;
  request.set_session_id(session);
  request.set_chunk_ids(ids);
  grpc::ClientContext context;
  return stub->Negotiate(&context, request, response);
}

grpc::Status Data::Upload(const std::string& session, const std::vector<store::v1::Chunk>& chunks, size_t per_message,
                          store::v1::UploadResponse* response) {
  store::v1::UploadResponse ignored;
  grpc::ClientContext context;
  const auto writer = stub->Upload(&context, response != nullptr ? response : &ignored);
  for (size_t at = 0; at < chunks.size(); at += per_message) {
    store::v1::UploadRequest request;
    if (at == 0) request.set_session_id(session);
    for (size_t i = at; i < std::min(at + per_message, chunks.size()); ++i) *request.add_chunks() = chunks[i];
    if (!writer->Write(request)) break;
  }
  writer->WritesDone();
  return writer->Finish();
}

grpc::Status Data::PutMap(const std::string& session, int vm, const Disk& disk) {
  store::v1::PutDiskMapResponse response;
  grpc::ClientContext context;
  const auto writer = stub->PutDiskMap(&context, &response);
  store::v1::PutDiskMapRequest request;
  request.set_session_id(session);
  request.set_vm_uuid(VmUuid(vm));
  request.set_disk("vda");
  request.set_capacity_bytes(static_cast<int64_t>(disk.content.size()));
  for (const std::string& id : disk.ids) {  // one id a message: the hardest way
    request.set_chunk_ids(id);
    if (!writer->Write(request)) break;
    request.Clear();
  }
  writer->WritesDone();
  return writer->Finish();
}

grpc::Status Data::PutChanges(const std::string& session, int vm, const Disk& disk, const std::string& base,
                              const std::vector<std::pair<int, int>>& runs) {
  store::v1::PutDiskMapResponse response;
  grpc::ClientContext context;
  const auto writer = stub->PutDiskMap(&context, &response);
  store::v1::PutDiskMapRequest request;
  request.set_session_id(session);
  request.set_vm_uuid(VmUuid(vm));
  request.set_disk("vda");
  request.set_capacity_bytes(static_cast<int64_t>(disk.content.size()));
  request.set_base_recovery_point_id(base);
  bool going = writer->Write(request);  // a message without a change is fine
  for (const auto& [first, count] : runs) {
    if (!going) break;
    request.Clear();
    store::v1::ChangedRun& run = *request.add_changes();
    run.set_first_chunk(first);
    for (int i = first; i < first + count; ++i) run.mutable_chunk_ids()->append(disk.ids[static_cast<size_t>(i)]);
    going = writer->Write(request);
  }
  writer->WritesDone();
  return writer->Finish();
}

grpc::Status Data::CheckBase(const std::string& session, int vm, const Disk& disk, const std::string& base,
                             const std::vector<int>& chunks, store::v1::CheckBaseResponse* response) {
  store::v1::CheckBaseRequest request;
  request.set_session_id(session);
  request.set_vm_uuid(VmUuid(vm));
  request.set_disk("vda");
  request.set_recovery_point_id(base);
  request.set_capacity_bytes(static_cast<int64_t>(disk.content.size()));
  for (const int chunk : chunks) {
    request.add_chunks(chunk);
    request.mutable_chunk_ids()->append(disk.ids[static_cast<size_t>(chunk)]);
  }
  grpc::ClientContext context;
  return stub->CheckBase(&context, request, response);
}

grpc::Status Data::Commit(const std::string& session, const std::vector<int>& vms, const Disk& disk,
                          store::v1::CommitResponse* response, const std::string& checkpoint) {
  store::v1::CommitResponse ignored;
  store::v1::CommitRequest request;
  request.set_session_id(session);
  for (const int vm : vms) {
    store::v1::Manifest& manifest = *request.add_manifests();
    manifest.set_recovery_point_id("chosen-by-the-agent");
    manifest.set_host_id("another-host");
    manifest.set_vm_uuid(VmUuid(vm));
    manifest.set_vm_display_name("db");
    manifest.mutable_point_time()->set_seconds(1'800'000'000);
    manifest.set_mechanism(2);
    store::v1::ManifestDisk& d = *manifest.add_disks();
    d.set_name("vda");
    d.set_capacity_bytes(static_cast<int64_t>(disk.content.size()));
    d.set_format("qcow2");
    if (!checkpoint.empty()) {
      manifest.mutable_tracking()->set_checkpoint(checkpoint);
      store::v1::TrackedDisk& tracked = *manifest.mutable_tracking()->add_disks();
      tracked.set_name("vda");
      tracked.set_generation("/a#1");
      tracked.set_capacity_bytes(d.capacity_bytes());
    }
    store::v1::ManifestDocument& document = *manifest.add_documents();
    document.set_kind("vm.configuration");
    document.set_content("<domain/>");
  }
  grpc::ClientContext context;
  return stub->Commit(&context, request, response != nullptr ? response : &ignored);
}

grpc::Status Data::Read(const dispatch::AssignmentKey& key, const std::string& point, int64_t first_chunk,
                        std::string* content, const std::function<void()>& meanwhile) {
  store::v1::ReadDiskRequest request;
  request.set_job_id(key.job.value);
  request.set_attempt(key.attempt);
  request.set_recovery_point_id(point);
  request.set_disk("vda");
  request.set_first_chunk(first_chunk);
  grpc::ClientContext context;
  const auto reader = stub->ReadDisk(&context, request);
  store::v1::ReadDiskResponse message;
  std::optional<repo::ChunkHasher> hasher;
  std::vector<std::byte> scratch;
  int64_t done = 0;
  while (reader->Read(&message)) {
    if (!hasher) {
      hasher.emplace(*repo::ToIdSuite(message.id_suite()), base::AsBytes(message.id_key()));
      content->assign(static_cast<size_t>(message.capacity_bytes()), '\0');
      if (meanwhile) meanwhile();
    }
    for (const auto& item : message.items()) {
      base::Bytes plain;
      const absl::Status opened = repo::OpenChunk(*hasher, repo::ChunkId::FromBytes(base::AsBytes(item.chunk().id())),
                                                  *repo::ToCodec(item.chunk().codec()), item.chunk().plain_length(),
                                                  base::AsBytes(item.chunk().data()), scratch, plain);
      EXPECT_TRUE(opened.ok()) << opened;
      std::memcpy(content->data() + item.offset_bytes(), plain.data(), plain.size());
    }
    EXPECT_GE(message.done_bytes(), done);
    done = message.done_bytes();
  }
  const grpc::Status status = reader->Finish();
  if (status.ok()) {
    EXPECT_EQ(done, static_cast<int64_t>(content->size()));
  }
  return status;
}

}  // namespace umbra::api

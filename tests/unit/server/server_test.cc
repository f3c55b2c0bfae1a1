// Proves the assembled daemon over its real sockets: who gets in at which port, the way of an agent from token to link,
// what a start finds and repairs, what it refuses, and that it stops in time whatever its peers do.
#include "server/server.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "server/repository_keys.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/repo/format.h"
#include "storage/repo/repository.h"
#include "storage/tls/certificate_authority.h"
#include "storage/tls/x509.h"
#include "tests/support/http_get.h"
#include "tests/unit/server/server_fixture.h"
#include "umbra/agent/v1/agent_link.grpc.pb.h"
#include "umbra/v1/event.grpc.pb.h"
#include "umbra/v1/host.grpc.pb.h"
#include "umbra/v1/logging.grpc.pb.h"
#include "umbra/v1/recovery_point.grpc.pb.h"

namespace umbra::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// ---- Who gets in ----

TEST_F(ServerTest, AgentGoesFromTokenToLink) {
  Start();
  const AgentIdentity identity = Enrol();
  agent::v1::DaemonMessage answer;
  Greet(OptionsOf(identity), &answer);
  EXPECT_EQ(answer.welcome().host_id(), identity.host_id);
  EXPECT_EQ(answer.welcome().lease_duration().seconds(), absl::ToInt64Seconds(config_.lease));
  EXPECT_EQ(answer.welcome().daemon_version(), UMBRA_VERSION);
}

TEST_F(ServerTest, AgentPortWantsACertificateOfOurAuthority) {
  Start();
  const AgentIdentity identity = Enrol();
  agent::v1::DaemonMessage answer;
  EXPECT_FALSE(Greet({.pem_root_certs = identity.authority_pem}, &answer).ok()) << "no certificate";

  const auto foreign = *tls::CertificateAuthority::Open(files_, clock_, random_, dir_.File("foreign"));
  AgentIdentity stranger = identity;
  stranger.key_pem = *tls::GenerateKey();
  stranger.certificate_pem = *foreign->SignAgentCertificate(*tls::MakeCsr(stranger.key_pem, "x"), identity.host_id);
  EXPECT_FALSE(Greet(OptionsOf(stranger), &answer).ok()) << "another authority";

  std::string response;
  const auto plain = grpc::CreateChannel(server_->addresses().agent, grpc::InsecureChannelCredentials());
  EXPECT_FALSE(RawCall(plain, "/umbra.store.v1.StoreService/OpenSession", "", &response).ok()) << "plaintext";
  EXPECT_EQ(answer.message_case(), agent::v1::DaemonMessage::MESSAGE_NOT_SET);
}

TEST_F(ServerTest, RemovedHostIsTurnedAway) {
  Start();
  const AgentIdentity identity = Enrol();
  v1::DeleteHostRequest request;
  request.set_name("hosts/" + identity.host_id);
  google::protobuf::Empty nothing;
  grpc::ClientContext context;
  ASSERT_TRUE(v1::HostService::NewStub(Api())->DeleteHost(&context, request, &nothing).ok());
  agent::v1::DaemonMessage answer;
  EXPECT_EQ(Greet(OptionsOf(identity), &answer).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(answer.message_case(), agent::v1::DaemonMessage::MESSAGE_NOT_SET);
}

TEST_F(ServerTest, HealthAndReflectionOnTheLocalApiOnly) {
  Start();
  constexpr char kCheck[] = "/grpc.health.v1.Health/Check";
  constexpr char kReflect[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  const std::string kListServices("\x3a\0", 2);  // field 7, list_services: ""
  std::string health, services;
  ASSERT_TRUE(RawCall(Api(), kCheck, "", &health).ok());
  EXPECT_EQ(health, "\x08\x01");  // SERVING
  ASSERT_TRUE(RawCall(Api(), kReflect, kListServices, &services).ok());
  for (const char* name :
       {"HostService", "VirtualMachineService", "WriterService", "FileSetService", "JobService", "RecoveryPointService",
        "RepositoryService", "RepositoryKeyService", "EventService", "LoggingService"}) {
    EXPECT_THAT(services, HasSubstr(std::string("umbra.v1.") + name));
  }
  EXPECT_THAT(services, Not(HasSubstr("agent.v1")));

  const AgentIdentity identity = Enrol();
  const auto enrolment = Secure(server_->addresses().enrolment, {.pem_root_certs = identity.authority_pem});
  const auto agents = Secure(server_->addresses().agent, OptionsOf(identity));
  for (const auto& channel : {enrolment, agents}) {
    std::string nothing;
    EXPECT_EQ(RawCall(channel, kCheck, "", &nothing).error_code(), grpc::StatusCode::UNIMPLEMENTED);
    EXPECT_EQ(RawCall(channel, kReflect, kListServices, &nothing).error_code(), grpc::StatusCode::UNIMPLEMENTED);
    EXPECT_EQ(RawCall(channel, "/umbra.v1.HostService/ListHosts", "", &nothing).error_code(),
              grpc::StatusCode::UNIMPLEMENTED);
  }
}

TEST_F(ServerTest, TheLogsLevelChangesWhileItRuns) {
  Start();
  const auto stub = v1::LoggingService::NewStub(Api());
  const auto get = [&] {
    grpc::ClientContext context;
    v1::Logging logging;
    EXPECT_TRUE(stub->GetLogging(&context, {}, &logging).ok());
    return logging.level();
  };
  const auto set = [&](const std::string& level) {
    grpc::ClientContext context;
    v1::SetLogLevelRequest request;
    request.set_level(level);
    v1::Logging logging;
    const grpc::Status status = stub->SetLogLevel(&context, request, &logging);
    EXPECT_EQ(logging.level(), status.ok() ? level : "");
    return status.error_code();
  };
  const std::string before = get();
  for (const char* level : {"trace", "debug", "info", "warn", "error"}) {
    EXPECT_EQ(set(level), grpc::StatusCode::OK);
    EXPECT_EQ(get(), level);
  }
  EXPECT_FALSE(base::Log("somebody")->should_log(spdlog::level::warn));
  for (const char* level : {"off", "loud", ""}) EXPECT_EQ(set(level), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(get(), "error");
  set(before);
}

TEST_F(ServerTest, MalformedAndOversizedMessagesAreRefused) {
  Start();
  std::string response;
  EXPECT_FALSE(RawCall(Api(), "/umbra.v1.JobService/CreateJob", "\xff\xff\xff", &response).ok());
  EXPECT_EQ(RawCall(Api(), "/umbra.v1.JobService/CreateJob", std::string(5 << 20, 'x'), &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(RawCall(Api(), "/umbra.v1.JobService/ListJobs", "", &response).ok());
}

TEST_F(ServerTest, SocketIsForOwnerAndGroup) {
  Start();
  struct stat st;
  ASSERT_EQ(stat(server_->addresses().api_socket.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0660u);
}

// ---- Starting and stopping ----

TEST_F(ServerTest, AddressesFileTellsWhereAndGoesAtTheEnd) {
  Start();
  const std::string path = config_.data_dir + "/" + kAddressesFile;
  const auto json = nlohmann::json::parse(*files_.ReadFile(path));
  EXPECT_EQ(json["pid"], getpid());
  EXPECT_EQ(json["api_socket"], server_->addresses().api_socket);
  EXPECT_EQ(json["agent_address"], server_->addresses().agent);
  EXPECT_EQ(json["enrolment_address"], server_->addresses().enrolment);
  const std::string fingerprint = json["authority_fingerprint"];
  server_.reset();
  EXPECT_FALSE(*files_.Exists(path));
  Start();
  EXPECT_EQ(nlohmann::json::parse(*files_.ReadFile(path))["authority_fingerprint"], fingerprint);
}

TEST_F(ServerTest, HealthAndFiguresAreServedWhereTheConfigurationSays) {
  config_.metrics_listen = "127.0.0.1:0";
  Start();
  const std::string address = server_->addresses().metrics;
  EXPECT_EQ(nlohmann::json::parse(*files_.ReadFile(config_.data_dir + "/" + kAddressesFile))["metrics_address"],
            address);
  EXPECT_THAT(testing::HttpAsk(address, "GET /healthz"), HasSubstr(" 200 OK"));
  const std::string ready = testing::HttpAsk(address, "GET /readyz");
  EXPECT_THAT(ready, HasSubstr(" 200 OK"));
  EXPECT_THAT(ready, HasSubstr("\r\n\r\nready\n"));
  const std::string figures = testing::HttpAsk(address, "GET /metrics");
  EXPECT_THAT(figures, HasSubstr("\numbra_hosts 0\n"));
  EXPECT_THAT(figures, HasSubstr("umbra_catalog_transactions_total{kind=\"write\",outcome=\"done\"} "));
  EXPECT_THAT(figures, HasSubstr("\numbra_metrics_failures 0\n"));
  server_.reset();
  EXPECT_EQ(testing::HttpAsk(address, "GET /healthz"), "");
}

TEST_F(ServerTest, EnrolledAgentSurvivesARestart) {
  Start();
  const AgentIdentity identity = Enrol();
  server_.reset();
  Start();
  agent::v1::DaemonMessage answer;
  Greet(OptionsOf(identity), &answer);
  EXPECT_EQ(answer.welcome().host_id(), identity.host_id);
}

TEST_F(ServerTest, SecondDaemonIsRefusedAndHarmless) {
  Start();
  EXPECT_EQ(ReasonOfStart(), "FILE_LOCKED");
  EXPECT_TRUE(*files_.Exists(config_.data_dir + "/" + kAddressesFile));
  std::string response;
  EXPECT_TRUE(RawCall(Api(), "/umbra.v1.JobService/ListJobs", "", &response).ok());
}

TEST_F(ServerTest, TakenPortsAndSocketsAreNamed) {
  Start();
  const Config other_config = [&] {
    Config config = config_;
    config.data_dir = dir_.File("other");
    config.api_socket = dir_.File("other.sock");
    config.repositories[0].path = dir_.File("other/r");
    return config;
  }();
  const auto reason = [&](const Config& config) {
    const auto started = Server::Start(config, files_, clock_, random_);
    EXPECT_FALSE(*files_.Exists(dir_.File("other") + "/" + kAddressesFile));
    return started.ok() ? std::string("OK") : base::Describe(started.status());
  };
  Config config = other_config;
  config.agent_listen = server_->addresses().agent;
  EXPECT_THAT(reason(config), HasSubstr("[LISTEN_FAILED]: agents.listen"));
  config = other_config;
  config.enrolment_listen = "192.0.2.1:1";
  EXPECT_THAT(reason(config), HasSubstr("[LISTEN_FAILED]: agents.enrolment_listen"));
  config = other_config;
  config.api_socket = config_.api_socket;
  EXPECT_THAT(reason(config), HasSubstr("[LISTEN_FAILED]: api.socket"));
  EXPECT_EQ(Server::Start(other_config, files_, clock_, random_).status(), absl::OkStatus());
}

TEST_F(ServerTest, StopsInTimeWithWatchersAndAgentsConnected) {
  Start();
  const AgentIdentity identity = Enrol();
  grpc::ClientContext watch_context, link_context;
  SetDeadline(watch_context, 60);
  SetDeadline(link_context, 60);
  const auto log = v1::EventService::NewStub(Api());
  const auto watch = log->WatchEvents(&watch_context, {});
  v1::Event event;
  ASSERT_TRUE(watch->Read(&event));
  const auto agent_stub = agent::v1::AgentLinkService::NewStub(Secure(server_->addresses().agent, OptionsOf(identity)));
  const auto link = agent_stub->Connect(&link_context);
  agent::v1::AgentMessage hello;
  hello.mutable_hello()->set_host_name("node1");
  link->Write(hello);
  agent::v1::DaemonMessage welcome;
  ASSERT_TRUE(link->Read(&welcome));

  const absl::Duration start = clock_.Monotonic();
  server_.reset();
  EXPECT_LT(clock_.Monotonic() - start, absl::Seconds(5));
  while (watch->Read(&event)) {
  }
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  while (link->Read(&welcome)) {
  }
  EXPECT_EQ(link->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

// ---- What a start finds ----

class StoredPointTest : public ServerTest {
 protected:
  // The key file that the daemon will use.
  repo::RepositoryOptions OptionsWithKey() {
    repo::RepositoryOptions options;
    options.key = *ProvideKey(config_.repositories[0], files_, random_);
    return options;
  }

  // A recovery point of a 1 MiB disk, with data in its first chunk, that only the repository knows.
  void StorePoint() {
    ASSERT_TRUE(files_.MakeDirectories(config_.data_dir + "/repositories").ok());
    auto repository =
        *repo::Repository::OpenOrCreate(files_, clock_, random_, config_.repositories[0].path, OptionsWithKey());
    auto session = repository->BeginSession();
    const uint64_t chunks = (1 << 20) / repository->info().chunk_size_bytes;
    const std::string data = FirstChunk(*repository);
    std::vector<repo::ChunkId> ids(chunks);
    ids[0] = repository->hasher().Id(base::AsBytes(data));
    const auto length = static_cast<uint32_t>(data.size());
    ASSERT_TRUE(session->Put({ids[0], length, repo::Codec::kRaw, base::AsBytes(data)}).ok());
    {
      auto map = *session->AddDiskMap("u1", "vda", 1 << 20);
      ASSERT_TRUE(map->Append(ids).ok());
      ASSERT_TRUE(map->Finish().ok());
    }
    repo::Manifest manifest;
    manifest.set_host_id("h1");
    manifest.set_vm_uuid("u1");
    manifest.set_job_id("j1");
    auto* disk = manifest.add_disks();
    disk->set_name("vda");
    disk->set_capacity_bytes(1 << 20);
    ASSERT_TRUE(session->Commit({manifest}).ok());
  }

  static std::string FirstChunk(const repo::Repository& repository) {
    std::string data(repository.info().chunk_size_bytes, 'x');
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i % 251);
    return data;
  }

  // The one point of the repository, as opened with `key`, has the disk that StorePoint stored.
  void ExpectRestores(const repo::KeySecret& key) {
    repo::RepositoryOptions options;
    options.key = key;
    auto repository = repo::Repository::Open(files_, clock_, random_, config_.repositories[0].path, options);
    ASSERT_TRUE(repository.ok()) << base::Describe(repository.status());
    const auto list = *(*repository)->ListRecoveryPoints();
    ASSERT_EQ(list.points.size(), 1u);
    auto disk = *(*repository)->OpenDisk(list.points[0].recovery_point_id(), "vda");
    const auto chunks = disk->Next(1 << 20);
    ASSERT_TRUE(chunks.ok()) << base::Describe(chunks.status());
    ASSERT_EQ(chunks->size(), 1u);
    EXPECT_EQ(base::AsText((*chunks)[0].chunk.data), FirstChunk(**repository));
  }

  // An umbrad on a new machine, with the same repository.
  void LoseTheMachine() {
    server_.reset();
    std::filesystem::remove_all(dir_.File("lost"));
    std::filesystem::rename(config_.data_dir, dir_.File("lost"));
    ASSERT_TRUE(files_.MakeDirectories(config_.data_dir).ok());
    std::filesystem::rename(dir_.File("lost/repositories"), config_.data_dir + "/repositories");
  }

  int PointCount() {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::ListRecoveryPointsResponse response;
    EXPECT_TRUE(v1::RecoveryPointService::NewStub(Api())->ListRecoveryPoints(&context, {}, &response).ok());
    return response.recovery_points_size();
  }
};

TEST_F(StoredPointTest, PointWithoutARowIsEnteredAtTheStart) {
  StorePoint();
  Start();
  EXPECT_EQ(PointCount(), 1);
}

TEST_F(StoredPointTest, LostCatalogIsRebuilt) {
  StorePoint();
  Start();
  server_.reset();
  for (const char* name : {"catalog.db", "catalog.db-wal", "catalog.db-shm"}) {
    std::filesystem::remove(config_.data_dir + "/" + name);
  }
  Start();
  EXPECT_EQ(PointCount(), 1);
}

TEST_F(StoredPointTest, TheKeyFileIsMadeWithTheRepositoryAndKept) {
  Start();
  const std::string path = config_.repositories[0].key_file;
  EXPECT_EQ(path, config_.data_dir + "/keys/main.key");
  struct stat status {};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_EQ(stat(base::DirectoryOf(path).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  const std::string before = *files_.ReadFile(path);
  server_.reset();
  Start();
  EXPECT_EQ(*files_.ReadFile(path), before);
  server_.reset();
  // Never a new key beside a repository: it would open nothing, and look right.
  std::filesystem::remove(path);
  EXPECT_EQ(ReasonOfStart(), "KEY_MISSING");
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE(files_.WriteFileAtomic(path, repo::PrintKeyFile(repo::NewKeyFileSecret(random_), "another")).ok());
  EXPECT_EQ(ReasonOfStart(), "KEY_WRONG");
  ASSERT_TRUE(files_.WriteFileAtomic(path, "what is this?").ok());
  EXPECT_EQ(ReasonOfStart(), "KEY_INVALID");
}

// No key would help: whoever looks for one must not be sent looking.
TEST_F(StoredPointTest, ARepositoryWithoutEncryptionIsRefusedAsThatAlsoWithoutAKey) {
  Start();
  server_.reset();
  std::filesystem::remove(config_.repositories[0].key_file);
  const std::string header = config_.repositories[0].path + "/umbra-repository";
  std::string text =
      "umbra-repository\nformat_version 1\ncompatible_version 1\nrepository_id 01234567-89ab-4def-8123-456789abcdef\n"
      "create_time_us 1767225600123456\nchunk_size_bytes 131072\nmap_page_entries 1024\nid_suite 1\naead_suite 0\n"
      "key_slot id 0 6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b\n";
  text += fmt::format("checksum {}\n", base::ToHex(repo::HashOf(base::AsBytes(text))));
  ASSERT_TRUE(files_.WriteFileAtomic(header, text).ok());
  EXPECT_EQ(ReasonOfStart(), "REPOSITORY_INCOMPATIBLE");
  EXPECT_FALSE(std::filesystem::exists(config_.repositories[0].key_file));
}

TEST_F(StoredPointTest, ALostMachineComesBackFromTheRepositoryAndOneKey) {
  StorePoint();
  const RepositoryConfig& config = config_.repositories[0];
  const repo::KeySecret recovery = repo::NewRecoverySecret(random_);
  const std::string passphrase = "correct horse battery";
  {
    auto repository = *repo::Repository::Open(files_, clock_, random_, config.path, OptionsWithKey());
    ASSERT_TRUE(repository->AddKey(recovery, "").ok());
    ASSERT_TRUE(repository->AddKey(*repo::PassphraseSecret(passphrase), "").ok());
  }
  for (const std::string& typed : {repo::PrintRecoveryKey(recovery) + "\n", passphrase}) {
    Start();
    EXPECT_EQ(PointCount(), 1);
    LoseTheMachine();
    EXPECT_EQ(ReasonOfStart(), "KEY_MISSING");
    const auto recover = [&](const std::string& text) {
      return base::ReasonOf(RecoverKeyFile(config, text, files_, clock_, random_));
    };
    EXPECT_EQ(recover("never the passphrase"), "KEY_WRONG");
    EXPECT_EQ(recover("short"), "KEY_INVALID");
    EXPECT_EQ(recover(typed), "");
    EXPECT_EQ(recover(typed), "TARGET_EXISTS");
    Start();
    EXPECT_EQ(PointCount(), 1) << "the catalog is rebuilt";
    server_.reset();
    ExpectRestores(OptionsWithKey().key);
  }
}

TEST_F(StoredPointTest, VanishedRepositoryIsNotReplacedByAnEmptyOne) {
  StorePoint();
  Start();
  server_.reset();
  const std::string path = config_.repositories[0].path;
  std::filesystem::rename(path, path + ".unmounted");
  std::filesystem::create_directory(path);
  const auto started = Server::Start(config_, files_, clock_, random_);
  EXPECT_EQ(base::ReasonOf(started.status()), "REPOSITORY_INCOMPATIBLE");
  EXPECT_THAT(base::MessageOf(started.status()), HasSubstr("mounted?"));
  EXPECT_TRUE(std::filesystem::is_empty(path));
  std::filesystem::remove(path);
  std::filesystem::rename(path + ".unmounted", path);
  Start();
  EXPECT_EQ(PointCount(), 1);
}

}  // namespace
}  // namespace umbra::server

#include "server/server.h"

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "server/api/agent/agent_link_service.h"
#include "server/api/agent/enrolment_service.h"
#include "server/api/agent/executor.h"
#include "server/api/agent/port.h"
#include "server/api/agent/store_service.h"
#include "server/api/agent/stream_set.h"
#include "server/api/catalog_service.h"
#include "server/api/disk_content_service.h"
#include "server/api/door.h"
#include "server/api/event_service.h"
#include "server/api/file_set_service.h"
#include "server/api/host_service.h"
#include "server/api/identity_service.h"
#include "server/api/inventory_services.h"
#include "server/api/job_service.h"
#include "server/api/logging_service.h"
#include "server/api/notification_service.h"
#include "server/api/policy_service.h"
#include "server/api/recovery_point_service.h"
#include "server/api/repository_key_service.h"
#include "server/api/repository_service.h"
#include "server/api/stream_guard.h"
#include "server/auth/enrolment.h"
#include "server/auth/renewal.h"
#include "server/dispatch/dispatcher.h"
#include "server/identity/audit_log.h"
#include "server/identity/identity.h"
#include "server/jobs/event_hub.h"
#include "server/jobs/job_engine.h"
#include "server/jobs/job_recovery.h"
#include "server/maintenance/catalog_keeper.h"
#include "server/maintenance/figures_recorder.h"
#include "server/maintenance/housekeeper.h"
#include "server/maintenance/prune_runner.h"
#include "server/maintenance/prune_schedule.h"
#include "server/maintenance/rebuild.h"
#include "server/maintenance/repository_set.h"
#include "server/maintenance/verify_runner.h"
#include "server/maintenance/verify_schedule.h"
#include "server/metrics/exporter.h"
#include "server/metrics/health.h"
#include "server/metrics/metrics.h"
#include "server/notifications/notifications.h"
#include "server/policies/coverage_board.h"
#include "server/policies/retention_keeper.h"
#include "server/policies/scheduler.h"
#include "server/repository_keys.h"
#include "server/rest/edge.h"
#include "server/unix_socket.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/tls/certificate_authority.h"

namespace umbra::server {
namespace {

// Calls of the local API wait for the catalog most of their time; a long one (rebuild) must not hold the others up.
constexpr int kApiThreads = 4;
// Those of the REST edge, and as many more as anybody on this machine follows at a time.
constexpr size_t kWatchStreamsMax = 5120;
constexpr int kApiMessageSizeMax = 4 * 1024 * 1024;
constexpr int kApiMetadataSizeMax = 16 * 1024;
constexpr int kApiStreamsPerConnectionMax = 256;
constexpr size_t kApiTransportBytesMax = 16 * 1024 * 1024;
// A catalog of 10 GiB is checked in this time; a larger one must not keep the daemon from starting.
constexpr absl::Duration kCatalogCheckMax = absl::Seconds(10);
// After this, calls that are still under way are cut off.
constexpr int64_t kShutdownSeconds = 3;

// ---- gRPC ----

// gRPC's own lines join ours, one format for all. What it calls an error is mostly a peer's doing: a warning here.
void TakeOverGrpcLog() {
  gpr_set_log_function([](gpr_log_func_args* line) {
    const auto level = line->severity == GPR_LOG_SEVERITY_ERROR ? spdlog::level::warn : spdlog::level::debug;
    base::Log("grpc")->log(level, "{}", line->message);
  });
}

// What a port offers besides its services. gRPC would put its health service, and (by loading the library) reflection,
// on every port; strangers and agents need neither.
class Extras final : public grpc::ServerBuilderOption {
 public:
  explicit Extras(bool reflection) : reflection_(reflection) {}
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->clear();
    if (reflection_) plugins->push_back(std::make_unique<grpc::reflection::ProtoServerReflectionPlugin>());
  }

 private:
  const bool reflection_;
};

void WithoutExtras(grpc::ServerBuilder& builder) {
  builder.SetOption(std::make_unique<Extras>(false));
  builder.SetOption(std::make_unique<grpc::HealthCheckServiceServerBuilderOption>(nullptr));
}

void WithHealthAndReflection(grpc::ServerBuilder& builder) {
  grpc::EnableDefaultHealthCheckService(true);
  builder.SetOption(std::make_unique<Extras>(true));
}

void SetApiLimits(grpc::ServerBuilder& builder) {
  grpc::ResourceQuota quota("local-api");
  quota.Resize(kApiTransportBytesMax);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kApiMessageSizeMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kApiMetadataSizeMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kApiStreamsPerConnectionMax);
}

void Shutdown(const std::unique_ptr<grpc::Server>& server) {
  if (server == nullptr) return;
  server->Shutdown(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_seconds(kShutdownSeconds, GPR_TIMESPAN)));
  server->Wait();
}

// A server that listens, or LISTEN_FAILED. `port` is set by gRPC when it listens.
absl::StatusOr<std::unique_ptr<grpc::Server>> Listen(grpc::ServerBuilder& builder, const std::string& key,
                                                     const std::string& address, const int& port) {
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "LISTEN_FAILED",
                       "{}: can't listen at {}; is it in use, or not an address of this machine?", key, address);
  }
  return server;
}

// ---- Addresses ----

std::string HostPart(const std::string& address) {
  std::string host = address.substr(0, address.rfind(':'));
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return host;
}

bool IsWildcard(const std::string& host) {
  return host == "0.0.0.0" || host == "::" || host == "*";
}

std::string MachineName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

// How others reach what listens at `listen`: the advertised name, else the listening address, else the machine's name.
std::string ReachableHost(const Config& config, const std::string& listen) {
  if (!config.advertise.empty()) return config.advertise.front();
  const std::string host = HostPart(listen);
  return IsWildcard(host) ? MachineName() : host;
}

std::string WithPort(const std::string& host, int port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

std::vector<std::string> CertificateNames(const Config& config) {
  std::vector<std::string> names = config.advertise;
  names.push_back(MachineName());
  for (const std::string& listen : {config.agent_listen, config.enrolment_listen}) {
    if (!IsWildcard(HostPart(listen))) names.push_back(HostPart(listen));
  }
  return names;
}

// ---- Repositories ----

repo::PruneOptions OptionsOf(const PruneConfig& config) {
  repo::PruneOptions options;
  options.io_bytes_per_second = config.io_mib_per_second * base::kMiB;
  options.compact_below_percent = static_cast<int>(config.compact_below_percent);
  options.young_pack_grace = config.young_pack_grace;
  options.condemned_grace = config.condemned_grace;
  return options;
}

int64_t UploadBytesPerSecond(const RepositoryConfig& config) {
  return int64_t{config.upload_mib_per_second} * static_cast<int64_t>(base::kMiB);
}

absl::StatusOr<std::unique_ptr<repo::Repository>> OpenRepository(const RepositoryConfig& config, uint64_t reserve_mib,
                                                                 bool expect_points, base::Filesystem& filesystem,
                                                                 base::Clock& clock, base::Random& random) {
  repo::RepositoryOptions options;
  options.key_label = fmt::format("umbrad on {}", MachineName());
  auto key = ProvideKey(config, filesystem, random);
  if (!key.ok()) return base::Annotate(key.status(), "repository {}", config.id);
  options.key = *std::move(key);
  if (config.chunk_size_bytes != 0) options.chunk_size_bytes = config.chunk_size_bytes;
  options.reserve_bytes = reserve_mib * base::kMiB;
  // A disk that isn't mounted looks like an empty folder: a new repository there would hide the real one.
  auto repository = expect_points ? repo::Repository::Open(filesystem, clock, random, config.path, options)
                                  : repo::Repository::OpenOrCreate(filesystem, clock, random, config.path, options);
  if (repository.ok()) return repository;
  return base::Annotate(repository.status(), "repository {}{}", config.id,
                        expect_points ? " (the catalog knows recovery points in it: is its disk mounted?)" : "");
}

absl::StatusOr<std::unique_ptr<maintenance::RepositorySet>> OpenRepositories(const Config& config,
                                                                             catalog::Catalog& catalog,
                                                                             base::Filesystem& filesystem,
                                                                             base::Clock& clock, base::Random& random) {
  std::vector<maintenance::OpenRepository> repositories;
  for (const RepositoryConfig& entry : config.repositories) {
    const catalog::RepositoryId id(entry.id);
    ASSIGN_OR_RETURN(const auto known, catalog.Read([&](const catalog::Stores& stores) {
      return stores.recovery_points.List({.repository = id, .show_removed = true}, {.page_size = 1});
    }));
    ASSIGN_OR_RETURN(auto repository,
                     OpenRepository(entry, config.prune.reserve_mib, !known.items.empty(), filesystem, clock, random));
    repositories.push_back({id, entry.path, std::move(repository),
                            std::make_unique<base::TokenBucket>(clock, UploadBytesPerSecond(entry))});
  }
  return std::make_unique<maintenance::RepositorySet>(std::move(repositories));
}

// The first version whose link this daemon speaks.
constexpr char kOldestAgentVersion[] = "0.1.0";

}  // namespace

// In the order of construction; the destructor's order is the reverse, after Stop has ended what runs.
struct Server::Parts {
  Parts(const Config& config, base::Filesystem& filesystem, base::Clock& clock, base::Random& random)
      : config(config), filesystem(filesystem), clock(clock), random(random) {}
  ~Parts() { Stop(); }

  absl::Status LockDataFolder();
  absl::Status StartMonitoring();
  absl::Status OpenStorage();
  absl::Status SortOutJobs();
  void StartWorkers();
  absl::Status StartAgentPort(const tls::ServerCertificate& certificate);
  absl::Status StartEnrolmentPort(const tls::ServerCertificate& certificate);
  absl::Status StartApi();
  absl::Status StartHttp();
  absl::Status WriteAddresses();
  void BecomeReady();
  bool CatalogAnswers() const;
  void Stop();

  std::string addresses_path() const { return config.data_dir + "/" + kAddressesFile; }

  const Config config;
  base::Filesystem& filesystem;
  base::Clock& clock;
  base::Random& random;
  Addresses addresses;

  std::unique_ptr<base::File> lock;
  metrics::Health health;
  std::atomic<const metrics::Metrics*> shown_metrics{nullptr};  // what /metrics shows
  std::unique_ptr<metrics::Exporter> exporter;                  // looks at the two above
  std::unique_ptr<tls::CertificateAuthority> authority;
  std::unique_ptr<catalog::Catalog> catalog;
  std::unique_ptr<identity::Identity> identity;
  std::unique_ptr<identity::AuditLog> audit;
  std::unique_ptr<maintenance::RepositorySet> repositories;
  std::unique_ptr<jobs::EventHub> events;
  std::unique_ptr<jobs::JobEngine> engine;

  std::unique_ptr<auth::Enrolment> enrolment;
  std::unique_ptr<auth::Renewal> renewal;
  dispatch::AgentRegistry agents;
  std::unique_ptr<metrics::Metrics> metrics;  // looks at all of the above, and hears of jobs that end below
  dispatch::AssignmentTable assignments;
  std::unique_ptr<api::StoreService> store;
  std::unique_ptr<dispatch::Dispatcher> dispatcher;
  std::unique_ptr<maintenance::VerifyRunner> verify_runner;
  std::unique_ptr<maintenance::VerifySchedule> verify_schedule;
  std::unique_ptr<maintenance::FiguresRecorder> figures_recorder;
  std::unique_ptr<maintenance::PruneRunner> prune_runner;
  std::unique_ptr<maintenance::PruneSchedule> prune_schedule;
  std::unique_ptr<maintenance::Housekeeper> housekeeper;
  std::unique_ptr<policies::RetentionKeeper> retention_keeper;
  std::unique_ptr<policies::Scheduler> scheduler;
  std::unique_ptr<policies::CoverageBoard> coverage_board;
  std::unique_ptr<maintenance::CatalogKeeper> catalog_keeper;
  std::unique_ptr<notifications::Notifications> notifications;

  std::unique_ptr<api::AgentLinkService> link;
  std::unique_ptr<grpc::Server> agent_server;
  std::unique_ptr<api::EnrolmentService> enrolment_service;
  std::unique_ptr<grpc::Server> enrolment_server;

  std::unique_ptr<api::Executor> executor;
  std::unique_ptr<api::Door> door;
  std::unique_ptr<api::SlowCalls> slow_calls;
  api::StreamSet watches{kWatchStreamsMax};
  std::unique_ptr<api::StreamGuard> stream_guard;
  std::vector<std::unique_ptr<grpc::Service>> services;
  std::unique_ptr<grpc::Server> api_server;
  const std::string edge_secret = random.Hex(32);  // by which the services know calls that come through the edge
  std::unique_ptr<rest::Edge> edge;
};

absl::Status Server::Parts::LockDataFolder() {
  RETURN_IF_ERROR(filesystem.MakeDirectories(config.data_dir));
  auto locked = filesystem.Lock(config.data_dir + "/umbrad.lock");
  if (!locked.ok()) return base::Annotate(locked.status(), "does another umbrad use {}?", config.data_dir);
  lock = *std::move(locked);
  // The file of a killed daemon would send tools to the wrong place.
  if (const absl::Status removed = filesystem.Remove(addresses_path()); !removed.ok() && !absl::IsNotFound(removed)) {
    return removed;
  }
  return absl::OkStatus();
}

// Early: a start that heals a repository takes its time, and whoever watches should see that it goes on.
absl::Status Server::Parts::StartMonitoring() {
  if (config.metrics_listen.empty()) return absl::OkStatus();
  const auto page_of = [](const metrics::Health::Answer& answer) {
    return metrics::Page{.status = answer.good ? 200 : 503, .text = answer.text + "\n"};
  };
  metrics::Exporter::Pages pages;
  pages["/healthz"] = [this, page_of] { return page_of(health.Live()); };
  pages["/readyz"] = [this, page_of] { return page_of(health.ReadyNow()); };
  pages["/metrics"] = [this, page_of] {
    const metrics::Metrics* const shown = shown_metrics.load();
    if (shown == nullptr) return page_of({false, "not there yet, or not any more"});
    return metrics::Page{.type = "text/plain; version=0.0.4; charset=utf-8", .text = shown->Text()};
  };
  ASSIGN_OR_RETURN(exporter, metrics::Exporter::Start(config.metrics_listen, std::move(pages)));
  addresses.metrics = exporter->address();
  return absl::OkStatus();
}

absl::Status Server::Parts::OpenStorage() {
  health.Starting("catalog");
  ASSIGN_OR_RETURN(authority, tls::CertificateAuthority::Open(filesystem, clock, random, config.data_dir));
  ASSIGN_OR_RETURN(catalog, catalog::Catalog::Open(filesystem, config.data_dir + "/catalog.db",
                                                   {.clock = &clock, .check_time_max = kCatalogCheckMax}));
  base::CrashPoint("daemon.catalog_open");
  identity = std::make_unique<identity::Identity>(*catalog, filesystem, clock, random, config.data_dir);
  audit = std::make_unique<identity::AuditLog>(*catalog, clock);
  RETURN_IF_ERROR(identity->EnsureFirstUser());
  health.Starting("repositories");
  ASSIGN_OR_RETURN(repositories, OpenRepositories(config, *catalog, filesystem, clock, random));
  return absl::OkStatus();
}

absl::Status Server::Parts::SortOutJobs() {
  health.Starting("jobs");
  events = std::make_unique<jobs::EventHub>(*catalog, clock);
  engine = std::make_unique<jobs::JobEngine>(*catalog, clock, random);
  engine->SetLimits({.jobs_max = static_cast<int>(config.jobs.max),
                     .per_host_max = static_cast<int>(config.jobs.per_host_max),
                     .per_repository_max = static_cast<int>(config.jobs.per_repository_max)});
  metrics = std::make_unique<metrics::Metrics>(
      metrics::Sources{*catalog, config.data_dir + "/catalog.db", *engine, agents, *repositories, filesystem, clock});
  metrics->Listen();
  maintenance::PointsOfJobs points(*repositories);
  ASSIGN_OR_RETURN(const jobs::RecoveryReport report,
                   jobs::RecoverJobs(*catalog, *engine, [&](const catalog::Job& job) { return points.Of(job); }));
  base::Log("server")->info("jobs sorted out requeued={} finished={} failed={} cancelled={}", report.requeued,
                            report.finished, report.failed, report.cancelled);
  base::CrashPoint("daemon.jobs_recovered");
  for (const maintenance::OpenRepository& repository : repositories->All()) {
    RETURN_IF_ERROR(
        maintenance::RebuildCatalog(*catalog, repository, clock, maintenance::RebuildMode::kAddOnly).status());
  }
  base::CrashPoint("daemon.catalog_rebuilt");
  return absl::OkStatus();
}

void Server::Parts::StartWorkers() {
  enrolment = std::make_unique<auth::Enrolment>(*catalog, clock, random, *authority, config.certificate_lifetime);
  renewal = std::make_unique<auth::Renewal>(*catalog, clock, *authority, config.certificate_lifetime);
  api::StoreOptions store_options;
  store_options.worker_count = std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
  // Before the dispatcher starts: the service listens for assignments that end.
  store = std::make_unique<api::StoreService>(*catalog, *engine, assignments, *repositories, random, store_options);
  dispatch::DispatcherOptions options;
  options.daemon_version = UMBRA_VERSION;
  options.heartbeat_interval = config.heartbeat;
  options.lease_duration = config.lease;
  options.oldest_agent_version = kOldestAgentVersion;
  options.issue_certificate = [this](const dispatch::Peer& peer,
                                     const std::string& request_pem) -> absl::StatusOr<agent::v1::Certificate> {
    agent::v1::Certificate certificate;
    ASSIGN_OR_RETURN(*certificate.mutable_certificate_pem(),
                     renewal->Renew(peer.host, peer.certificate_fingerprint, request_pem));
    certificate.set_ca_pem(renewal->authority_pem());
    return certificate;
  };
  dispatcher = std::make_unique<dispatch::Dispatcher>(*catalog, *engine, clock, agents, assignments, options);
  dispatcher->Start();
  const maintenance::VerifyScheduleOptions verification{.interval = config.verify_interval,
                                                        .within = absl::Hours(24) * config.verify_within_days,
                                                        .time_budget = config.verify_budget};
  verify_runner = std::make_unique<maintenance::VerifyRunner>(*catalog, *engine, *events, *repositories, clock,
                                                              verification.within);
  verify_schedule =
      std::make_unique<maintenance::VerifySchedule>(*catalog, *engine, *repositories, clock, verification);
  figures_recorder = std::make_unique<maintenance::FiguresRecorder>(*catalog, *repositories, clock);
  prune_runner = std::make_unique<maintenance::PruneRunner>(*catalog, *engine, *events, *repositories, clock,
                                                            OptionsOf(config.prune));
  prune_schedule =
      std::make_unique<maintenance::PruneSchedule>(*catalog, *engine, *repositories, clock, config.prune.every);
  std::vector<maintenance::HousekeepingTask> tasks;
  tasks.push_back({"verification", [this] { return verify_schedule->Tick(); }});
  tasks.push_back({"prune", [this] { return prune_schedule->Tick(); }});
  tasks.push_back({"identity", [this] { return identity->Clean(); }});
  tasks.push_back({"audit log", [this] { return audit->Keep(absl::Hours(24) * config.jobs.keep_audit_days); }});
  tasks.push_back({"figures", [this] { return figures_recorder->Tick(); }});
  housekeeper = std::make_unique<maintenance::Housekeeper>(
      *catalog, *engine, *events, clock, std::move(tasks),
      maintenance::HistoryKept{.events = absl::Hours(24) * config.jobs.keep_events_days,
                               .jobs = absl::Hours(24) * config.jobs.keep_days});
  retention_keeper = std::make_unique<policies::RetentionKeeper>(*catalog, *events, *repositories, clock,
                                                                 config.prune.undelete_window);
  retention_keeper->Start();
  scheduler = std::make_unique<policies::Scheduler>(*catalog, *engine, clock);
  scheduler->Start();
  coverage_board = std::make_unique<policies::CoverageBoard>(*catalog, clock);
  coverage_board->Start();
  maintenance::CatalogKeeperOptions copies;
  copies.every = config.catalog.backup_every;
  copies.after_change = config.catalog.backup_after_change;
  copies.scratch = config.data_dir + "/catalog-copy.db";
  if (config.catalog.backup_authority) copies.authority = tls::CertificateAuthority::PathIn(config.data_dir);
  copies.daemon_version = UMBRA_VERSION;
  copies.machine = MachineName();
  catalog_keeper = std::make_unique<maintenance::CatalogKeeper>(*catalog, *events, *repositories, filesystem, clock,
                                                                std::move(copies));
  catalog_keeper->Start();
  notifications = std::make_unique<notifications::Notifications>(
      *catalog, *events, filesystem, clock, random,
      notifications::MakeStateChecks({*catalog, agents, *repositories, clock},
                                     static_cast<int>(config.notifications.repository_free_percent)),
      notifications::Options{MachineName(), "umbrad/" UMBRA_VERSION, config.notifications.secrets_dir});
  notifications->Start();
}

absl::Status Server::Parts::StartAgentPort(const tls::ServerCertificate& certificate) {
  link = std::make_unique<api::AgentLinkService>(*catalog, *dispatcher);
  grpc::ServerBuilder builder;
  api::SetAgentPortLimits(builder);
  WithoutExtras(builder);
  int port = 0;
  builder.AddListeningPort(config.agent_listen, api::AgentPortCredentials(certificate, authority->certificate_pem()),
                           &port);
  builder.RegisterService(link.get());
  builder.RegisterService(store.get());
  ASSIGN_OR_RETURN(agent_server, Listen(builder, "agents.listen", config.agent_listen, port));
  addresses.agent = WithPort(ReachableHost(config, config.agent_listen), port);
  return absl::OkStatus();
}

absl::Status Server::Parts::StartEnrolmentPort(const tls::ServerCertificate& certificate) {
  enrolment_service = std::make_unique<api::EnrolmentService>(*enrolment, agents, clock, addresses.agent);
  grpc::ServerBuilder builder;
  api::SetEnrolmentPortLimits(builder);
  WithoutExtras(builder);
  int port = 0;
  builder.AddListeningPort(config.enrolment_listen, api::EnrolmentPortCredentials(certificate), &port);
  builder.RegisterService(enrolment_service.get());
  ASSIGN_OR_RETURN(enrolment_server, Listen(builder, "agents.enrolment_listen", config.enrolment_listen, port));
  addresses.enrolment = WithPort(ReachableHost(config, config.enrolment_listen), port);
  return absl::OkStatus();
}

// The last that listens: gRPC's health service says SERVING from its first moment on, and then everything else does.
absl::Status Server::Parts::StartApi() {
  executor = std::make_unique<api::Executor>(kApiThreads);
  door = std::make_unique<api::Door>(*executor, *catalog, clock, *identity, *audit, edge_secret);
  stream_guard = std::make_unique<api::StreamGuard>(*door, watches, clock);
  slow_calls = std::make_unique<api::SlowCalls>();
  services.push_back(
      std::make_unique<api::HostService>(*door, *catalog, clock, *engine, *enrolment, agents, addresses.enrolment));
  services.push_back(std::make_unique<api::VirtualMachineService>(*door, *catalog, clock, agents));
  services.push_back(std::make_unique<api::WriterService>(*door, *catalog));
  services.push_back(std::make_unique<api::FileSetService>(*door, *catalog));
  services.push_back(std::make_unique<api::JobService>(*door, *catalog, *engine, *repositories, watches));
  services.push_back(
      std::make_unique<api::RecoveryPointService>(*door, *catalog, clock, *repositories, config.prune.undelete_window));
  services.push_back(
      std::make_unique<api::PolicyService>(*door, *catalog, clock, *repositories, *scheduler, *coverage_board));
  services.push_back(std::make_unique<api::NotificationService>(*door, *catalog, clock, *notifications));
  services.push_back(std::make_unique<api::RepositoryService>(*door, *catalog, clock, *repositories));
  services.push_back(std::make_unique<api::RepositoryKeyService>(*door, random, *repositories));
  services.push_back(
      std::make_unique<api::CatalogService>(*door, *catalog, *events, filesystem, *repositories, *catalog_keeper));
  services.push_back(std::make_unique<api::DiskContentService>(*door, *catalog, *repositories, watches));
  services.push_back(std::make_unique<api::LoggingService>(*door));
  services.push_back(std::make_unique<api::UserService>(*door, *slow_calls, *identity));
  services.push_back(std::make_unique<api::RoleService>(*door, *identity));
  services.push_back(std::make_unique<api::TokenService>(*door, *identity));
  services.push_back(std::make_unique<api::SessionService>(*door, *slow_calls, *identity));
  services.push_back(std::make_unique<api::AuditService>(*door, *slow_calls, *audit));
  services.push_back(std::make_unique<api::EventService>(*door, *catalog, *events, watches));

  RETURN_IF_ERROR(PrepareUnixSocket(filesystem, config.api_socket));
  grpc::ServerBuilder builder;
  SetApiLimits(builder);
  WithHealthAndReflection(builder);
  int port = 0;
  // The only plaintext listener: bytes don't leave the machine, and the socket's mode says who may connect.
  builder.AddListeningPort("unix:" + config.api_socket, grpc::InsecureServerCredentials(), &port);
  for (const auto& service : services) builder.RegisterService(service.get());
  ASSIGN_OR_RETURN(api_server, Listen(builder, "api.socket", config.api_socket, port));
  RETURN_IF_ERROR(ProtectUnixSocket(config.api_socket));
  addresses.api_socket = config.api_socket;
  return absl::OkStatus();
}

absl::StatusOr<tls::ServerCertificate> HttpCertificate(const Config& config, tls::CertificateAuthority& authority,
                                                       base::Filesystem& filesystem) {
  if (config.http.certificate.empty()) {
    std::vector<std::string> names = CertificateNames(config);
    if (const std::string host = HostPart(config.http.listen); !IsWildcard(host)) names.push_back(host);
    return authority.IssueServerCertificate(names);
  }
  tls::ServerCertificate certificate;
  ASSIGN_OR_RETURN(certificate.chain_pem, filesystem.ReadFile(config.http.certificate));
  ASSIGN_OR_RETURN(certificate.key_pem, filesystem.ReadFile(config.http.key));
  return certificate;
}

// At most half of the files that this process may open are connections of strangers: the rest is for agents and
// repositories.
static rest::ConnectionLimits Affordable(const rest::ConnectionLimits& wanted) {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY) return wanted;
  return wanted.Within(files.rlim_cur / 2);
}

absl::Status Server::Parts::StartHttp() {
  if (config.http.listen.empty()) return absl::OkStatus();
  rest::EdgeOptions options;
  options.listen = config.http.listen;
  ASSIGN_OR_RETURN(options.certificate, HttpCertificate(config, *authority, filesystem));
  options.dashboard_dir = config.http.dashboard_dir;
  options.limits.connections = Affordable(options.limits.connections);
  options.limits.body_bytes_max = size_t{config.http.body_kib_max} * 1024;
  options.gateway.edge_secret = edge_secret;
  options.gateway.cors_origins = config.http.cors_origins;
  options.gateway.requests_per_second = config.http.requests_per_second;
  options.gateway.requests_per_second_of_address = 4.0 * config.http.requests_per_second;
  ASSIGN_OR_RETURN(edge,
                   rest::Edge::Start(std::move(options), api_server->InProcessChannel({}), filesystem, clock, random));
  addresses.http = edge->address();
  return absl::OkStatus();
}

absl::Status Server::Parts::WriteAddresses() {
  const nlohmann::ordered_json json = {{"pid", getpid()},
                                       {"api_socket", addresses.api_socket},
                                       {"agent_address", addresses.agent},
                                       {"enrolment_address", addresses.enrolment},
                                       {"metrics_address", addresses.metrics},
                                       {"http_address", addresses.http},
                                       {"authority_fingerprint", authority->fingerprint()}};
  constexpr auto kReplaceBadText = nlohmann::ordered_json::error_handler_t::replace;
  return filesystem.WriteFileAtomic(addresses_path(), json.dump(2, ' ', false, kReplaceBadText) + "\n");
}

bool Server::Parts::CatalogAnswers() const {
  return catalog->Read([](const catalog::Stores& stores) { return stores.events.Newest(); }).ok();
}

void Server::Parts::BecomeReady() {
  shown_metrics = metrics.get();
  health.Ready([this] { return CatalogAnswers(); });
}

// Also after a start that failed halfway. Ends what runs, from the outside in; the members' destructors do the rest.
void Server::Parts::Stop() {
  health.Stopping();
  if (lock != nullptr) (void)filesystem.Remove(addresses_path());
  if (api_server != nullptr) {
    api_server->GetHealthCheckService()->SetServingStatus(false);
    watches.StopAll();
  }
  edge.reset();
  if (coverage_board != nullptr) coverage_board->Stop();
  Shutdown(api_server);
  Shutdown(enrolment_server);
  if (agent_server != nullptr) {
    link->Stop();
    store->Stop();
  }
  Shutdown(agent_server);
  if (catalog_keeper != nullptr) catalog_keeper->Stop();
  shown_metrics = nullptr;
  exporter.reset();
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() {
  parts_.reset();
  base::Log("server")->info("stopped");
}

void Server::TakeOn(const Config& config) {
  for (const RepositoryConfig& entry : config.repositories) {
    const auto open = parts_->repositories->Find(catalog::RepositoryId(entry.id));
    if (open.ok()) (*open)->upload_limit->SetRate(UploadBytesPerSecond(entry));
  }
}

bool Server::Alive() const {
  return parts_->CatalogAnswers();
}

absl::StatusOr<bool> Server::ReloadCertificate() {
  if (parts_->edge == nullptr || parts_->config.http.certificate.empty()) return false;
  ASSIGN_OR_RETURN(const tls::ServerCertificate certificate,
                   HttpCertificate(parts_->config, *parts_->authority, parts_->filesystem));
  RETURN_IF_ERROR(parts_->edge->SetCertificate(certificate));
  return true;
}

const Addresses& Server::addresses() const {
  return parts_->addresses;
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config, base::Filesystem& filesystem,
                                                      base::Clock& clock, base::Random& random) {
  TakeOverGrpcLog();
  auto parts = std::make_unique<Parts>(config, filesystem, clock, random);
  RETURN_IF_ERROR(parts->LockDataFolder());
  RETURN_IF_ERROR(parts->StartMonitoring());
  RETURN_IF_ERROR(parts->OpenStorage());
  RETURN_IF_ERROR(parts->SortOutJobs());
  parts->StartWorkers();
  ASSIGN_OR_RETURN(const tls::ServerCertificate certificate,
                   parts->authority->IssueServerCertificate(CertificateNames(config)));
  RETURN_IF_ERROR(parts->StartAgentPort(certificate));
  RETURN_IF_ERROR(parts->StartEnrolmentPort(certificate));
  RETURN_IF_ERROR(parts->StartApi());
  RETURN_IF_ERROR(parts->StartHttp());
  RETURN_IF_ERROR(parts->WriteAddresses());
  parts->BecomeReady();
  base::CrashPoint("daemon.listening");
  const Addresses& addresses = parts->addresses;
  base::Log("server")->info("listening version={} data_dir={} api={} agents={} enrolment={} http={}", UMBRA_VERSION,
                            config.data_dir, addresses.api_socket, addresses.agent, addresses.enrolment,
                            addresses.http.empty() ? "-" : addresses.http);
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

}  // namespace umbra::server

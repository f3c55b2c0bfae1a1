// Proves the data service over real TLS and a real repository: only the right host writes, only whole and checked
// backups become visible, nothing of a broken one does, and what is read back is byte for byte what was written.
#include "server/api/agent/store_service.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "storage/base/crash_point.h"
#include "tests/unit/server/agent_api/agent_port.h"

namespace umbra::api {
namespace {

using agent::v1::AssignmentResult;
using agent::v1::DaemonMessage;
using catalog::JobState;

class StoreServiceTest : public ::testing::Test {
 protected:
  StoreServiceTest() {
    link_->SayHello();
    link_->Await(DaemonMessage::kWelcome);
  }

  // Starts a backup of these machines and opens its session.
  void Begin(const std::vector<int>& vms = {1}) {
    job_ = daemon_.SubmitBackup(host_, vms);
    key_ = link_->AcceptAssignment();
    ASSERT_TRUE(daemon_.Reaches(job_, JobState::kRunning));
    const grpc::Status opened = data_.Open(key_, &session_);
    ASSERT_TRUE(opened.ok()) << opened.error_message();
  }

  // Begin, and everything up to a recovery point; returns its id.
  std::string Backup(size_t chunk_count, Disk* disk) {
    Begin();
    *disk = MakeDisk(session_, chunk_count, 7);
    EXPECT_TRUE(data_.Upload(session_.session_id(), disk->chunks, 8).ok());
    EXPECT_TRUE(data_.PutMap(session_.session_id(), 1, *disk).ok());
    store::v1::CommitResponse committed;
    EXPECT_TRUE(data_.Commit(session_.session_id(), {1}, *disk, &committed).ok());
    link_->SayResult(key_, AssignmentResult::OUTCOME_SUCCEEDED);
    link_->Await(DaemonMessage::kResultAcknowledged);
    return committed.recovery_point_ids_size() == 1 ? committed.recovery_point_ids(0) : "";
  }

  dispatch::AssignmentKey BeginRestore(const std::string& point) {
    daemon_.SubmitRestore(host_, point);
    return link_->AcceptAssignment();
  }

  void ExpectNothingVisible() {
    EXPECT_EQ(daemon_.PointsInCatalog(), 0u);
    EXPECT_EQ(daemon_.PointsInRepository(), 0u);
  }

  Daemon daemon_;
  const Identity host_ = daemon_.Enrol("h1");
  std::unique_ptr<Link> link_ = std::make_unique<Link>(daemon_.Connect(host_));
  Data data_{daemon_.Connect(host_)};
  catalog::JobId job_;
  dispatch::AssignmentKey key_;
  store::v1::OpenSessionResponse session_;
};

TEST_F(StoreServiceTest, ABackupBecomesVisibleAndReadsBackByteForByte) {
  Begin({1, 2});
  EXPECT_EQ(session_.chunk_size_bytes(), 128 * 1024);
  const Disk disk = MakeDisk(session_, 33, 1);
  store::v1::NegotiateResponse wanted;
  ASSERT_TRUE(data_.Negotiate(session_.session_id(), disk.map(), &wanted).ok());
  EXPECT_EQ(wanted.wanted().size(), 33u);
  EXPECT_EQ(wanted.wanted()[0], 1);
  EXPECT_EQ(wanted.wanted()[3], 0);  // a hole

  store::v1::UploadResponse uploaded;
  ASSERT_TRUE(data_.Upload(session_.session_id(), disk.chunks, 4, &uploaded).ok());
  EXPECT_EQ(uploaded.chunk_count(), static_cast<int64_t>(disk.chunks.size()));
  EXPECT_GT(uploaded.stored_bytes(), 0);
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 2, disk).ok());
  ExpectNothingVisible();

  store::v1::CommitResponse committed, again;
  ASSERT_TRUE(data_.Commit(session_.session_id(), {1, 2}, disk, &committed).ok());
  ASSERT_EQ(committed.recovery_point_ids_size(), 2);
  EXPECT_EQ(daemon_.Get(job_).state, JobState::kCommitting);
  EXPECT_EQ(daemon_.PointsInCatalog(), 2u);
  ASSERT_TRUE(data_.Commit(session_.session_id(), {1, 2}, disk, &again).ok());  // the answer may get lost
  EXPECT_EQ(again.SerializeAsString(), committed.SerializeAsString());

  const auto point = daemon_.catalog->Read([&](const catalog::Stores& stores) {
    return stores.recovery_points.Get(catalog::RecoveryPointId(committed.recovery_point_ids(0)));
  });
  ASSERT_TRUE(point.ok()) << point.status();
  EXPECT_EQ(point->vm, (catalog::VmKey{catalog::HostId(host_.host_id), VmUuid(1)}));  // not what the agent claimed
  EXPECT_EQ(point->job, job_);
  EXPECT_EQ(point->configuration, "<domain/>");
  link_->SayResult(key_, AssignmentResult::OUTCOME_SUCCEEDED);
  link_->Await(DaemonMessage::kResultAcknowledged);
  EXPECT_EQ(daemon_.Get(job_).state, JobState::kSucceeded);
  EXPECT_EQ(daemon_.Get(job_).recovery_points.size(), 2u);

  const dispatch::AssignmentKey restore = BeginRestore(committed.recovery_point_ids(0));
  std::string content;
  const grpc::Status read = data_.Read(restore, committed.recovery_point_ids(0), 0, &content);
  ASSERT_TRUE(read.ok()) << read.error_message();
  EXPECT_TRUE(content == disk.content);
  ASSERT_TRUE(data_.Read(restore, committed.recovery_point_ids(0), 16, &content).ok());
  const size_t from = 16 * 128 * 1024;
  EXPECT_TRUE(content.substr(from) == disk.content.substr(from));
  EXPECT_EQ(content.find_first_not_of('\0'), from);
}

TEST_F(StoreServiceTest, ASecondBackupOfTheSameDataUploadsNothing) {
  Disk disk;
  ASSERT_FALSE(Backup(9, &disk).empty());
  Begin({2});
  store::v1::NegotiateResponse wanted;
  ASSERT_TRUE(data_.Negotiate(session_.session_id(), disk.map(), &wanted).ok());
  EXPECT_EQ(wanted.wanted(), std::string(9, '\0'));
}

TEST_F(StoreServiceTest, AnIncrementBuildsOnTheNewestPointOfItsMachine) {
  Begin();
  EXPECT_EQ(session_.bases_size(), 0) << "there is no point yet";
  Disk disk = MakeDisk(session_, 40, 7);
  ASSERT_TRUE(data_.Upload(session_.session_id(), disk.chunks, 8).ok());
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  store::v1::CommitResponse first, second;
  ASSERT_TRUE(data_.Commit(session_.session_id(), {1}, disk, &first, "umbra-one").ok());
  link_->SayResult(key_, AssignmentResult::OUTCOME_SUCCEEDED);
  link_->Await(DaemonMessage::kResultAcknowledged);

  Begin({1, 2});
  ASSERT_EQ(session_.bases_size(), 1) << "machine 2 has none";
  const std::string base = session_.bases(0).recovery_point_id();
  EXPECT_EQ(base, first.recovery_point_ids(0));
  EXPECT_EQ(session_.bases(0).vm_uuid(), VmUuid(1));
  EXPECT_EQ(session_.bases(0).tracking().checkpoint(), "umbra-one");
  EXPECT_EQ(session_.bases(0).tracking().disks(0).generation(), "/a#1");

  store::v1::CheckBaseResponse compared;
  const Disk now = [&] {  // chunks 4, 5 and 39 are others; 39 becomes a hole, as in every disk of MakeDisk
    const Disk other = MakeDisk(session_, 40, 8);
    Disk mixed = disk;
    const size_t size = static_cast<size_t>(session_.chunk_size_bytes());
    for (const size_t chunk : {4, 5}) {
      mixed.ids[chunk] = other.ids[chunk];
      mixed.content.replace(chunk * size, size, other.content, chunk * size, size);
    }
    mixed.ids[8] = std::string(repo::kChunkIdSize, '\0');
    mixed.content.replace(8 * size, size, size, '\0');
    mixed.chunks = other.chunks;
    return mixed;
  }();
  ASSERT_TRUE(data_.CheckBase(session_.session_id(), 1, now, base, {0, 4, 6, 8}, &compared).ok());
  EXPECT_EQ(std::vector<int64_t>(compared.different().begin(), compared.different().end()),
            (std::vector<int64_t>{4, 8}));
  ASSERT_TRUE(data_.CheckBase(session_.session_id(), 1, now, base, {}, &compared).ok());
  EXPECT_EQ(ReasonOf(data_.CheckBase(session_.session_id(), 2, now, base, {0}, &compared)), "CBT_BASE_UNUSABLE")
      << "another machine's";
  EXPECT_EQ(ReasonOf(data_.PutChanges(session_.session_id(), 2, now, base, {})), "CBT_BASE_UNUSABLE");
  EXPECT_EQ(ReasonOf(data_.PutChanges(session_.session_id(), 1, now, "no-base-of-ours", {})), "CBT_BASE_UNUSABLE");
  EXPECT_EQ(ReasonOf(data_.PutChanges(session_.session_id(), 1, now, base, {{4, 2}})), "CHUNK_MISSING");
  ASSERT_TRUE(data_.Upload(session_.session_id(), now.chunks, 8).ok());
  EXPECT_EQ(ReasonOf(data_.PutChanges(session_.session_id(), 1, now, base, {{8, 1}, {4, 2}})), "UPLOAD_INVALID")
      << "out of order";
  ASSERT_TRUE(data_.PutChanges(session_.session_id(), 1, now, base, {{4, 2}, {8, 1}}).ok());
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 2, now).ok());
  ASSERT_TRUE(data_.Commit(session_.session_id(), {1, 2}, now, &second, "umbra-two").ok());
  link_->SayResult(key_, AssignmentResult::OUTCOME_SUCCEEDED);
  link_->Await(DaemonMessage::kResultAcknowledged);

  std::string content;
  for (const std::string& point : second.recovery_point_ids()) {
    const dispatch::AssignmentKey restore = BeginRestore(point);
    ASSERT_TRUE(data_.Read(restore, point, 0, &content).ok());
    EXPECT_TRUE(content == now.content);
    link_->SayResult(restore, AssignmentResult::OUTCOME_SUCCEEDED);
    link_->Await(DaemonMessage::kResultAcknowledged);
  }
}

TEST_F(StoreServiceTest, OnlyTheHostOfTheAssignmentMayOpenAndUseASession) {
  Begin();
  Data stranger(daemon_.Connect(daemon_.Enrol("h2")));
  store::v1::OpenSessionResponse opened;
  const grpc::Status denied = stranger.Open(key_, &opened);
  EXPECT_EQ(denied.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ReasonOf(denied), "PERMISSION_DENIED");

  const Disk disk = MakeDisk(session_, 2, 1);
  store::v1::NegotiateResponse wanted;
  EXPECT_EQ(ReasonOf(stranger.Negotiate(session_.session_id(), disk.map(), &wanted)), "SESSION_NOT_FOUND");
  EXPECT_EQ(ReasonOf(stranger.Upload(session_.session_id(), disk.chunks, 8)), "SESSION_NOT_FOUND");
  EXPECT_EQ(ReasonOf(stranger.PutMap(session_.session_id(), 1, disk)), "SESSION_NOT_FOUND");
  EXPECT_EQ(ReasonOf(stranger.Commit(session_.session_id(), {1}, disk)), "SESSION_NOT_FOUND");
  EXPECT_EQ(ReasonOf(data_.Open({job_, key_.attempt + 1}, &opened)), "PERMISSION_DENIED");
  EXPECT_TRUE(data_.Negotiate(session_.session_id(), disk.map(), &wanted).ok());
}

TEST_F(StoreServiceTest, OpeningAgainReplacesTheSession) {
  Begin();
  store::v1::OpenSessionResponse second;
  ASSERT_TRUE(data_.Open(key_, &second).ok());
  EXPECT_NE(second.session_id(), session_.session_id());
  store::v1::NegotiateResponse wanted;
  const Disk disk = MakeDisk(second, 2, 1);
  EXPECT_EQ(ReasonOf(data_.Negotiate(session_.session_id(), disk.map(), &wanted)), "SESSION_NOT_FOUND");
  EXPECT_TRUE(data_.Negotiate(second.session_id(), disk.map(), &wanted).ok());
}

TEST_F(StoreServiceTest, DataThatIsNotWhatItsIdSaysIsRefusedAndTheSessionGoesOn) {
  Begin();
  const Disk disk = MakeDisk(session_, 3, 1);
  std::vector<store::v1::Chunk> wrong = disk.chunks;
  wrong[0].set_id(disk.chunks[1].id());
  const grpc::Status status = data_.Upload(session_.session_id(), wrong, 8);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(status), "UPLOAD_INVALID");

  wrong = disk.chunks;
  wrong[0].set_codec(9);
  EXPECT_EQ(ReasonOf(data_.Upload(session_.session_id(), wrong, 8)), "UPLOAD_INVALID");
  wrong = disk.chunks;
  wrong[0].mutable_id()->pop_back();
  EXPECT_EQ(ReasonOf(data_.Upload(session_.session_id(), wrong, 8)), "UPLOAD_INVALID");
  wrong = disk.chunks;
  wrong[0].set_data(std::string(4'300'000, 'x'));
  EXPECT_EQ(data_.Upload(session_.session_id(), wrong, 1).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);

  ASSERT_TRUE(data_.Upload(session_.session_id(), disk.chunks, 8).ok());
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  EXPECT_TRUE(data_.Commit(session_.session_id(), {1}, disk).ok());
}

// A host that was taken over sends other bytes under the ids of a disk that another host backs up, before, beside and
// after that backup: the other host's disk reads back as it was.
TEST_F(StoreServiceTest, ALyingAgentCannotChangeWhatOthersReferTo) {
  Begin();
  const Disk disk = MakeDisk(session_, 33, 1);
  const Identity liar_host = daemon_.Enrol("liar");
  Link liar_link(daemon_.Connect(liar_host));
  liar_link.SayHello({}, "p2");
  liar_link.Await(DaemonMessage::kWelcome);
  Data liar(daemon_.Connect(liar_host));
  daemon_.SubmitBackup(liar_host, {7});
  store::v1::OpenSessionResponse lies;
  ASSERT_TRUE(liar.Open(liar_link.AcceptAssignment(), &lies).ok());

  std::vector<store::v1::Chunk> wrong;
  for (size_t i = 0; i < disk.chunks.size(); ++i) {
    store::v1::Chunk& other = wrong.emplace_back(disk.chunks[i]);
    switch (i % 4) {
      case 0:  // another chunk's bytes
        other = disk.chunks[(i + 1) % disk.chunks.size()];
        other.set_id(disk.chunks[i].id());
        break;
      case 1:  // raw bytes of the right length
        other.set_codec(0);
        other.set_data(std::string(other.plain_length(), 'x'));
        break;
      case 2:  // a beginning of the right bytes
        other.set_codec(0);
        other.set_data(std::string(1, 'x'));
        other.set_plain_length(1);
        break;
      case 3:  // the right bytes, said to be others
        other.set_plain_length(other.plain_length() - 1);
        break;
    }
    EXPECT_EQ(ReasonOf(liar.Upload(lies.session_id(), {other}, 1)), "UPLOAD_INVALID") << i;
  }
  store::v1::NegotiateResponse wanted;
  ASSERT_TRUE(data_.Negotiate(session_.session_id(), disk.map(), &wanted).ok());
  EXPECT_EQ(static_cast<size_t>(std::count(wanted.wanted().begin(), wanted.wanted().end(), 1)), disk.chunks.size())
      << "what was refused is nobody's: the honest agent is asked for everything";
  {
    std::jthread beside([&] {
      for (const store::v1::Chunk& chunk : wrong) (void)liar.Upload(lies.session_id(), {chunk}, 1);
    });
    ASSERT_TRUE(data_.Upload(session_.session_id(), disk.chunks, 3).ok());
  }
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  store::v1::CommitResponse committed;
  ASSERT_TRUE(data_.Commit(session_.session_id(), {1}, disk, &committed).ok());
  store::v1::UploadResponse dropped;
  ASSERT_TRUE(liar.Upload(lies.session_id(), wrong, 8, &dropped).ok()) << "stored already: dropped unseen";
  EXPECT_EQ(dropped.stored_bytes(), 0);
  link_->SayResult(key_, AssignmentResult::OUTCOME_SUCCEEDED);
  link_->Await(DaemonMessage::kResultAcknowledged);
  std::string content;
  const std::string& point = committed.recovery_point_ids(0);
  ASSERT_TRUE(data_.Read(BeginRestore(point), point, 0, &content).ok());
  EXPECT_TRUE(content == disk.content);
}

TEST_F(StoreServiceTest, AMapNeedsItsChunksAndItsVirtualMachine) {
  Begin();
  const Disk disk = MakeDisk(session_, 5, 1);
  ASSERT_TRUE(data_.Upload(session_.session_id(), {disk.chunks[0]}, 8).ok());
  const grpc::Status missing = data_.PutMap(session_.session_id(), 1, disk);
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(missing), "CHUNK_MISSING");
  EXPECT_EQ(ReasonOf(data_.PutMap(session_.session_id(), 99, disk)), "UPLOAD_INVALID");
  EXPECT_EQ(ReasonOf(data_.Commit(session_.session_id(), {1}, disk)), "UPLOAD_INVALID");  // no map
  ExpectNothingVisible();
}

TEST_F(StoreServiceTest, AMapCanBeSentAgainAfterACutOrALostAnswer) {
  Begin();
  const Disk disk = MakeDisk(session_, 5, 1);
  ASSERT_TRUE(data_.Upload(session_.session_id(), disk.chunks, 8).ok());
  Disk half = disk;
  half.ids.resize(2);
  EXPECT_EQ(ReasonOf(data_.PutMap(session_.session_id(), 1, half)), "UPLOAD_INVALID");
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  EXPECT_TRUE(data_.Commit(session_.session_id(), {1}, disk).ok());
}

TEST_F(StoreServiceTest, ACommitIsForAllMachinesOfTheAssignment) {
  Begin({1, 2});
  const Disk disk = MakeDisk(session_, 3, 1);
  ASSERT_TRUE(data_.Upload(session_.session_id(), disk.chunks, 8).ok());
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  EXPECT_EQ(ReasonOf(data_.Commit(session_.session_id(), {1}, disk)), "UPLOAD_INVALID");
  EXPECT_EQ(ReasonOf(data_.Commit(session_.session_id(), {1, 1}, disk)), "UPLOAD_INVALID");
  ExpectNothingVisible();
  EXPECT_EQ(daemon_.Get(job_).state, JobState::kRunning);
}

TEST_F(StoreServiceTest, QuestionsAreLimited) {
  Begin();
  store::v1::NegotiateResponse wanted;
  EXPECT_TRUE(data_.Negotiate(session_.session_id(), std::string(8192 * 32, 'x'), &wanted).ok());
  EXPECT_EQ(ReasonOf(data_.Negotiate(session_.session_id(), std::string(8193 * 32, 'x'), &wanted)), "UPLOAD_INVALID");
  EXPECT_EQ(ReasonOf(data_.Negotiate(session_.session_id(), std::string(33, 'x'), &wanted)), "UPLOAD_INVALID");
}

TEST_F(StoreServiceTest, SeveralStreamsOfASessionRunAtOnce) {
  Begin();
  const Disk disk = MakeDisk(session_, 120, 1);
  const size_t part = disk.chunks.size() / 4 + 1;
  std::vector<std::jthread> streams;
  for (size_t at = 0; at < disk.chunks.size(); at += part) {
    streams.emplace_back([&, at] {
      const std::vector<store::v1::Chunk> chunks(disk.chunks.begin() + at,
                                                 disk.chunks.begin() + std::min(at + part, disk.chunks.size()));
      EXPECT_TRUE(data_.Upload(session_.session_id(), chunks, 5).ok());
    });
  }
  streams.clear();
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  EXPECT_TRUE(data_.Commit(session_.session_id(), {1}, disk).ok());
}

TEST_F(StoreServiceTest, UploadsBeyondTheLimitWaitForTheirTurn) {
  Begin();
  const Disk disk = MakeDisk(session_, 3, 1);
  struct Open {
    grpc::ClientContext context;
    store::v1::UploadResponse response;
    std::unique_ptr<grpc::ClientWriter<store::v1::UploadRequest>> writer;
  };
  std::vector<std::unique_ptr<Open>> all;
  store::v1::UploadRequest request;
  request.set_session_id(session_.session_id());
  *request.add_chunks() = disk.chunks[0];
  for (size_t i = 0; i < kUploadStreamsMax + 3; ++i) {
    all.push_back(std::make_unique<Open>());
    all.back()->writer = data_.stub->Upload(&all.back()->context, &all.back()->response);
    ASSERT_TRUE(all.back()->writer->Write(request));
  }
  for (const std::unique_ptr<Open>& one : all) {
    one->writer->WritesDone();
    const grpc::Status status = one->writer->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(one->response.chunk_count(), 1);
  }
}

// A commit is some syncs one after the other: those of many jobs wait for the disk together, not one after the other.
TEST_F(StoreServiceTest, CommitsRunSideBySideAndHoldUpNoShortCall) {
  constexpr int kCommits = 2 * kControlThreads + 1;
  struct Agent {
    Agent(Daemon& of, const std::string& name, int number) : daemon(of), identity(of.Enrol(name)), vm(number) {
      link.SayHello();
      link.Await(DaemonMessage::kWelcome);
      daemon.SubmitBackup(identity, {vm});
      EXPECT_TRUE(data.Open(link.AcceptAssignment(), &session).ok());
    }
    Daemon& daemon;
    const Identity identity;
    const int vm;
    Link link{daemon.Connect(identity)};
    Data data{daemon.Connect(identity)};
    store::v1::OpenSessionResponse session;
    Disk disk;
  };
  std::vector<std::unique_ptr<Agent>> agents;
  for (int i = 0; i < kCommits; ++i) {
    agents.push_back(std::make_unique<Agent>(daemon_, fmt::format("side{}", i), i + 1));
    Agent& agent = *agents.back();
    agent.disk = MakeDisk(agent.session, 3, static_cast<uint64_t>(i) + 1);
    ASSERT_TRUE(agent.data.Upload(agent.session.session_id(), agent.disk.chunks, 8).ok());
    ASSERT_TRUE(agent.data.PutMap(agent.session.session_id(), agent.vm, agent.disk).ok());
  }

  absl::Mutex mu;
  int there = 0;
  bool all_came = false;
  bool go_on = false;
  base::ObserveCrashPoints([&](std::string_view name) {
    if (name != "repo.commit.before_publish") return;
    absl::MutexLock lock(&mu);
    ++there;
    mu.Await(absl::Condition(&go_on));
  });
  std::vector<std::jthread> commits;
  for (const std::unique_ptr<Agent>& agent : agents) {
    commits.emplace_back([&agent = *agent] {
      EXPECT_TRUE(agent.data.Commit(agent.session.session_id(), {agent.vm}, agent.disk).ok());
    });
  }
  {
    absl::MutexLock lock(&mu);
    const auto all = [&] { return there == kCommits; };
    all_came = mu.AwaitWithTimeout(absl::Condition(&all), absl::Seconds(20));
  }
  EXPECT_TRUE(all_came);
  if (all_came) {
    Begin();
    store::v1::NegotiateResponse wanted;
    EXPECT_TRUE(data_.Negotiate(session_.session_id(), std::string(32, 'x'), &wanted).ok());
  }
  {
    absl::MutexLock lock(&mu);
    go_on = true;
  }
  commits.clear();
  base::ObserveCrashPoints(nullptr);
  EXPECT_EQ(daemon_.PointsInCatalog(), static_cast<size_t>(kCommits));
}

int64_t BytesOf(const Disk& disk) {
  int64_t bytes = 0;
  for (const store::v1::Chunk& chunk : disk.chunks) bytes += static_cast<int64_t>(chunk.data().size());
  return bytes;
}

TEST_F(StoreServiceTest, AllUploadsToARepositoryShareItsLimitAndHoldUpNothingElse) {
  Begin();
  const Identity other_host = daemon_.Enrol("h2");
  Link other_link(daemon_.Connect(other_host));
  other_link.SayHello();
  other_link.Await(DaemonMessage::kWelcome);
  daemon_.SubmitBackup(other_host, {2});
  const dispatch::AssignmentKey other_key = other_link.AcceptAssignment();
  Data other(daemon_.Connect(other_host));
  store::v1::OpenSessionResponse other_session;
  ASSERT_TRUE(other.Open(other_key, &other_session).ok());
  const Disk disk = MakeDisk(session_, 60, 3), other_disk = MakeDisk(session_, 60, 4), known = MakeDisk(session_, 9, 5);
  ASSERT_TRUE(data_.Upload(session_.session_id(), known.chunks, 3).ok());

  // Both together take four seconds: the first one's worth may go at once.
  base::TokenBucket& limit = *daemon_.repositories->Default().upload_limit;
  const auto rate = static_cast<int64_t>(static_cast<double>(BytesOf(disk) + BytesOf(other_disk)) / 4);
  limit.SetRate(rate);
  const absl::Duration start = daemon_.steady.Monotonic();
  std::atomic<int> running = 2;
  const auto upload = [&](Data& data, const std::string& session, const Disk& of) {
    EXPECT_TRUE(data.Upload(session, of.chunks, 2).ok());
    --running;
  };
  std::jthread first(upload, std::ref(data_), session_.session_id(), std::cref(disk));
  std::jthread second(upload, std::ref(other), other_session.session_id(), std::cref(other_disk));
  while (limit.waited() == absl::ZeroDuration()) std::this_thread::yield();
  // Two streams rest; the daemon has two threads for data.
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, known).ok());
  EXPECT_EQ(running, 2) << "a stream that rests holds no thread";
  first.join();
  second.join();
  EXPECT_GE(daemon_.steady.Monotonic() - start, absl::Seconds(2));
  limit.SetRate(0);
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  ASSERT_TRUE(data_.Commit(session_.session_id(), {1}, disk).ok());
}

TEST_F(StoreServiceTest, AStreamThatRestsEndsWithItsDaemon) {
  Begin();
  const Disk disk = MakeDisk(session_, 12, 3);
  base::TokenBucket& limit = *daemon_.repositories->Default().upload_limit;
  limit.SetRate(1);
  grpc::Status status;
  std::jthread upload([&] { status = data_.Upload(session_.session_id(), disk.chunks, 1); });
  while (limit.waited() == absl::ZeroDuration()) std::this_thread::yield();
  const absl::Duration start = daemon_.steady.Monotonic();
  daemon_.Stop();
  upload.join();
  EXPECT_EQ(ReasonOf(status), "SERVER_STOPPING");
  EXPECT_LT(daemon_.steady.Monotonic() - start, absl::Seconds(30));
  EXPECT_EQ(limit.waited(), kUploadPauseMax) << "no message waits longer, whatever is owed";
}

TEST_F(StoreServiceTest, ALostAgentsSessionIsGoneAndNothingIsVisible) {
  Begin();
  const Disk disk = MakeDisk(session_, 9, 1);
  ASSERT_TRUE(data_.Upload(session_.session_id(), disk.chunks, 8).ok());
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  link_->Cut();
  ASSERT_TRUE(Eventually([&] { return !daemon_.registry.IsOnline(catalog::HostId(host_.host_id)); }));
  daemon_.clock.Advance(absl::Seconds(61));
  ASSERT_TRUE(daemon_.Reaches(job_, JobState::kFailed));
  EXPECT_EQ(daemon_.Get(job_).error.reason, "AGENT_LOST");
  EXPECT_EQ(ReasonOf(data_.Upload(session_.session_id(), disk.chunks, 8)), "SESSION_NOT_FOUND");
  EXPECT_EQ(ReasonOf(data_.Commit(session_.session_id(), {1}, disk)), "SESSION_NOT_FOUND");
  ExpectNothingVisible();
}

TEST_F(StoreServiceTest, ACancelledJobCannotCommit) {
  Begin();
  const Disk disk = MakeDisk(session_, 3, 1);
  ASSERT_TRUE(data_.Upload(session_.session_id(), disk.chunks, 8).ok());
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  ASSERT_TRUE(daemon_.engine->Cancel(job_).ok());
  link_->Await(DaemonMessage::kCancel);
  const grpc::Status status = data_.Commit(session_.session_id(), {1}, disk);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(status), "CANCELLED");
  ExpectNothingVisible();
  link_->SayResult(key_, AssignmentResult::OUTCOME_CANCELLED);
  EXPECT_TRUE(daemon_.Reaches(job_, JobState::kCancelled));
}

// The job ends behind the commit's back, which the fence should prevent: the points are taken back all the same.
TEST_F(StoreServiceTest, PointsOfAJobThatHasEndedAreTakenBack) {
  Begin();
  const Disk disk = MakeDisk(session_, 3, 1);
  ASSERT_TRUE(data_.Upload(session_.session_id(), disk.chunks, 8).ok());
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 1, disk).ok());
  ASSERT_TRUE(daemon_.assignments.BeginCommit(key_).ok());  // keeps the dispatcher from ending the session
  ASSERT_TRUE(daemon_.engine->Apply(job_, key_.attempt, jobs::JobEvent::kAgentFailed).ok());
  EXPECT_FALSE(data_.Commit(session_.session_id(), {1}, disk).ok());
  ExpectNothingVisible();
}

TEST_F(StoreServiceTest, AnAbortedSessionIsGone) {
  Begin();
  store::v1::AbortSessionRequest request;
  request.set_session_id(session_.session_id());
  store::v1::AbortSessionResponse response;
  grpc::ClientContext context, second;
  EXPECT_TRUE(data_.stub->AbortSession(&context, request, &response).ok());
  EXPECT_EQ(ReasonOf(data_.stub->AbortSession(&second, request, &response)), "SESSION_NOT_FOUND");
}

TEST_F(StoreServiceTest, OnlyARunningRestoreOfThisPointMayRead) {
  Disk disk;
  const std::string point = Backup(5, &disk);
  std::string content;
  EXPECT_EQ(ReasonOf(data_.Read(key_, point, 0, &content)), "PERMISSION_DENIED");  // a backup, and over
  const dispatch::AssignmentKey restore = BeginRestore(point);
  EXPECT_EQ(ReasonOf(data_.Read(restore, "another", 0, &content)), "PERMISSION_DENIED");
  Data stranger(daemon_.Connect(daemon_.Enrol("h2")));
  EXPECT_EQ(ReasonOf(stranger.Read(restore, point, 0, &content)), "PERMISSION_DENIED");
  EXPECT_EQ(data_.Read(restore, point, 6, &content).error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(ReasonOf(data_.Read(restore, point, -1, &content)), "INVALID_REQUEST");
  EXPECT_TRUE(data_.Read(restore, point, 5, &content).ok());
}

TEST_F(StoreServiceTest, ADamagedChunkIsNamedAndNotSent) {
  Disk disk;
  const std::string point = Backup(9, &disk);
  size_t packs = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(daemon_.dir.File("repo"))) {
    if (entry.path().extension() != ".pack" && entry.path().string().find("packs/") == std::string::npos) continue;
    if (!entry.is_regular_file()) continue;
    ++packs;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(entry.file_size() / 2));
    const char byte = static_cast<char>(file.peek() ^ 0x10);
    file.seekp(static_cast<std::streamoff>(entry.file_size() / 2));
    file.put(byte);
  }
  ASSERT_EQ(packs, 1u);
  const dispatch::AssignmentKey restore = BeginRestore(point);
  std::string content;
  const grpc::Status status = data_.Read(restore, point, 0, &content);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(ReasonOf(status), "CHUNK_DAMAGED");
  EXPECT_NE(status.error_message().find("vda"), std::string::npos) << status.error_message();
}

TEST_F(StoreServiceTest, ACancelledRestoreStopsReadingWhenItsAssignmentEnds) {
  Disk disk;
  const std::string point = Backup(200, &disk);
  const dispatch::AssignmentKey restore = BeginRestore(point);
  store::v1::ReadDiskRequest request;
  request.set_job_id(restore.job.value);
  request.set_attempt(restore.attempt);
  request.set_recovery_point_id(point);
  request.set_disk("vda");
  Data slow(daemon_.Connect(host_, [] {
    grpc::ChannelArguments tight;
    tight.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16);
    tight.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    return tight;
  }()));
  grpc::ClientContext context;
  const auto reader = slow.stub->ReadDisk(&context, request);
  store::v1::ReadDiskResponse message;
  ASSERT_TRUE(reader->Read(&message));
  link_->SayResult(restore, AssignmentResult::OUTCOME_CANCELLED);
  link_->Await(DaemonMessage::kResultAcknowledged);
  while (reader->Read(&message)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(status), "JOB_ENDED");
}

// Streams that are torn at any moment: the daemon forgets them, and those that follow are served.
TEST_F(StoreServiceTest, HangingUpInTheMiddleHarmsNobody) {
  Disk disk;
  const std::string point = Backup(60, &disk);
  Begin({2});
  const dispatch::AssignmentKey restore = BeginRestore(point);
  for (int i = 0; i < 40; ++i) {
    grpc::ClientContext up, down;
    store::v1::UploadResponse response;
    const auto writer = data_.stub->Upload(&up, &response);
    store::v1::UploadRequest upload;
    upload.set_session_id(session_.session_id());
    for (int n = 0; n < i % 10; ++n) *upload.add_chunks() = disk.chunks[static_cast<size_t>(n)];
    writer->Write(upload);
    if (i % 2 == 0) up.TryCancel();

    store::v1::ReadDiskRequest read;
    read.set_job_id(restore.job.value);
    read.set_attempt(restore.attempt);
    read.set_recovery_point_id(point);
    read.set_disk("vda");
    const auto reader = data_.stub->ReadDisk(&down, read);
    store::v1::ReadDiskResponse message;
    if (i % 3 == 0) reader->Read(&message);
    down.TryCancel();
    up.TryCancel();
    writer->Finish().IgnoreError();
    reader->Finish().IgnoreError();
  }
  std::string content;
  ASSERT_TRUE(data_.Read(restore, point, 0, &content).ok());
  EXPECT_TRUE(content == disk.content);
  ASSERT_TRUE(data_.Upload(session_.session_id(), disk.chunks, 8).ok());
  ASSERT_TRUE(data_.PutMap(session_.session_id(), 2, disk).ok());
  EXPECT_TRUE(data_.Commit(session_.session_id(), {2}, disk).ok());
}

TEST_F(StoreServiceTest, AStoppingDaemonEndsAnUploadAndNothingIsVisible) {
  Begin();
  const Disk disk = MakeDisk(session_, 9, 1);
  store::v1::UploadResponse response;
  grpc::ClientContext context;
  const auto writer = data_.stub->Upload(&context, &response);
  store::v1::UploadRequest request;
  request.set_session_id(session_.session_id());
  *request.add_chunks() = disk.chunks[0];
  // More than fits into any window: the daemon has read of this stream before it is told to stop.
  constexpr size_t kMoreThanAnyWindow = 32 << 20;
  for (size_t sent = 0; sent < kMoreThanAnyWindow; sent += request.ByteSizeLong()) ASSERT_TRUE(writer->Write(request));
  std::jthread stop([this] { daemon_.Stop(); });
  while (writer->Write(request)) {
  }
  const grpc::Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "SERVER_STOPPING");
  stop.join();
  ExpectNothingVisible();
}

}  // namespace
}  // namespace umbra::api

// Proves, by a million random operations of several sessions side by side, that a repository does what a plain map
// would: it knows what it was given, shows what was committed and nothing else, reads it back byte-equal, and survives
// reopening, power cuts and rotten bits.
//
// UMBRA_MODEL_SEED repeats a run (printed), UMBRA_MODEL_OPERATIONS sets its length.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <set>

#include "storage/repo/format.h"
#include "tests/support/sanitized.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

constexpr char kPath[] = "/repository";

uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

constexpr uint32_t kContents = 600;  // that there are in the world
constexpr uint32_t kLongEvery = 40;  // one in so many is a full chunk; the others are the short last chunk of a disk
constexpr size_t kSessions = 4;
constexpr size_t kPointsMax = 40;

// A piece of the world. Only short ones are numerous, so that many operations take little time.
struct Content {
  std::string plain;
  ChunkId id;
  CompressedChunk chunk;
  std::vector<std::byte> scratch;
};

// Chunks by content, -1 for zeros. Only the last may be short.
using Disk = std::vector<int>;

struct OpenSession {
  std::unique_ptr<UploadSession> session;
  std::map<std::string, Disk> disks;  // with finished maps
  bool cut_map = false;               // there is one that isn't finished
};

class Model {
 public:
  explicit Model(uint64_t seed)
      : engine_(seed), random_(seed), luck_(seed + 1), fs_(std::make_unique<testing::MemoryFilesystem>()) {}

  void Run(uint64_t operations) {
    Open();
    MakeWorld();
    sessions_.resize(kSessions);
    for (uint64_t i = 0; i < operations && !::testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE(fmt::format("operation {}", i));
      Step();
    }
    if (::testing::Test::HasFailure()) return;
    Reopen();
    ExpectSamePoints();
    for (const auto& [id, disk] : points_) ExpectReads(*repository_, id, disk);
    ExpectVerifies();
  }

  std::map<std::string, uint64_t> counts;  // how often each operation was done

 private:
  struct Operation {
    const char* name;
    uint32_t weight;  // of a million
    void (Model::*run)();
  };

  void Step() {
    static constexpr Operation kOperations[] = {
        {"put", 480'000, &Model::PutOne},
        {"wanted", 250'000, &Model::AskSome},
        {"read", 110'000, &Model::ReadOne},
        {"map", 90'000, &Model::MapOne},
        {"put wrong bytes", 20'000, &Model::PutWrong},
        {"commit", 20'000, &Model::CommitOne},
        {"remove", 14'000, &Model::RemoveOne},
        {"map of unknown chunks", 8'000, &Model::MapUnknown},
        {"abort", 4'000, &Model::AbortOne},
        {"cut map", 2'000, &Model::CutMap},
        {"list", 1'000, &Model::ExpectSamePoints},
        {"verify a point", 800, &Model::VerifyOne},
        {"prune", 500, &Model::Prune},
        {"reopen", 100, &Model::Reopen},
        {"power cut", 200, &Model::CutPower},
        {"flip a bit", 100, &Model::FlipBit},
        {"verify", 60, &Model::ExpectVerifies},
    };
    uint32_t total = 0;
    for (const Operation& operation : kOperations) total += operation.weight;
    uint32_t at = Below(total);
    for (const Operation& operation : kOperations) {
      if (at < operation.weight) {
        ++counts[operation.name];
        (this->*operation.run)();
        return;
      }
      at -= operation.weight;
    }
  }

  uint32_t Below(uint64_t limit) { return static_cast<uint32_t>(engine_() % limit); }
  int AnyContent() { return static_cast<int>(Below(kContents)); }

  void Open() {
    RepositoryOptions options = SmallOptions();
    options.pack_size_bytes = kTestChunkSize / (1 + Below(16));
    options.unindexed_chunks_max = 1 + Below(200);
    auto opened = Repository::OpenOrCreate(*fs_, clock_, random_, kPath, options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    repository_ = *std::move(opened);
  }

  void MakeWorld() {
    world_.resize(kContents);
    known_.assign(kContents, false);
    for (uint32_t i = 0; i < kContents; ++i) {
      Content& content = world_[i];
      // Even seeds compress; the long ones are all of that kind.
      content.plain =
          ContentOf(i % kLongEvery == 0 ? 2 * i + 2 : i + 1, i % kLongEvery == 0 ? kTestChunkSize : 1 + i % 300);
      content.plain[0] = static_cast<char>(1 + i % 255);
      content.id = repository_->hasher().Id(base::AsBytes(content.plain));
      content.chunk = CompressChunk(base::AsBytes(content.plain), {}, content.scratch);
    }
  }

  OpenSession& AnySession() {
    OpenSession& open = sessions_[Below(kSessions)];
    if (open.session == nullptr) open.session = repository_->BeginSession();
    return open;
  }

  absl::StatusOr<uint64_t> Put(UploadSession& session, int content) {
    const Content& c = world_[static_cast<size_t>(content)];
    return session.Put({c.id, static_cast<uint32_t>(c.plain.size()), c.chunk.codec, c.chunk.data});
  }
  void PutKnown(UploadSession& session, int content) {
    const auto put = Put(session, content);
    ASSERT_TRUE(put.ok()) << put.status();
    EXPECT_EQ(*put == 0, known_[static_cast<size_t>(content)]) << "stored once";
    known_[static_cast<size_t>(content)] = true;
  }

  void PutOne() { PutKnown(*AnySession().session, AnyContent()); }

  void PutWrong() {
    const int content = AnyContent();
    const Content& c = world_[static_cast<size_t>(content)];
    std::string wrong = c.plain;
    wrong[Below(wrong.size())] ^= 1;
    const auto put =
        AnySession().session->Put({c.id, static_cast<uint32_t>(wrong.size()), Codec::kRaw, base::AsBytes(wrong)});
    if (known_[static_cast<size_t>(content)]) {
      EXPECT_EQ(put.value_or(1), 0u) << "dropped unseen";
    } else {
      EXPECT_EQ(base::ReasonOf(put.status()), "UPLOAD_INVALID");
    }
  }

  void AskSome() {
    std::vector<int> contents(1 + Below(8));
    std::vector<ChunkId> ids;
    for (int& content : contents) {
      content = AnyContent();
      ids.push_back(world_[static_cast<size_t>(content)].id);
    }
    const auto wanted = AnySession().session->Wanted(ids);
    ASSERT_TRUE(wanted.ok()) << wanted.status();
    for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(wanted->at(i) == 0, known_[static_cast<size_t>(contents[i])]);
  }

  Disk AnyDisk() {
    Disk disk;
    for (uint32_t chunks = Below(4); chunks > 0; --chunks) {
      disk.push_back(Below(3) != 0 ? -1 : static_cast<int>(Below(kContents / kLongEvery) * kLongEvery));
    }
    if (Below(200) == 0) disk.insert(disk.begin(), kMapPageEntries + Below(50), -1);  // more than one map page
    disk.push_back(AnyContent());
    return disk;
  }
  uint64_t CapacityOf(const Disk& disk) const {
    return (disk.size() - 1) * kTestChunkSize + world_[static_cast<size_t>(disk.back())].plain.size();
  }
  std::vector<ChunkId> IdsOf(const Disk& disk) const {
    std::vector<ChunkId> ids;
    for (const int content : disk) ids.push_back(content < 0 ? kZeroChunkId : world_[static_cast<size_t>(content)].id);
    return ids;
  }
  std::string AnyDiskName() { return "vd" + std::to_string(Below(3)); }

  void Map(OpenSession& open, const std::string& name, const Disk& disk) {
    auto map = open.session->AddDiskMap("vm", name, CapacityOf(disk));
    ASSERT_TRUE(map.ok()) << map.status();
    const auto ids = IdsOf(disk);
    const auto appended = (*map)->Append(ids);
    ASSERT_TRUE(appended.ok()) << appended;
    ASSERT_TRUE((*map)->Finish().ok());
    open.disks[name] = disk;
  }

  void MapOne() {
    OpenSession& open = AnySession();
    const Disk disk = AnyDisk();
    for (const int content : disk) {
      if (content >= 0) PutKnown(*open.session, content);
    }
    if (!::testing::Test::HasFailure()) Map(open, AnyDiskName(), disk);
  }

  // A disk of which something is (nearly always) missing. Its map takes the place of one that was there.
  void MapUnknown() {
    OpenSession& open = AnySession();
    const Disk disk = AnyDisk();
    const bool all_known = std::ranges::all_of(disk, [&](int c) { return c < 0 || known_[static_cast<size_t>(c)]; });
    const std::string name = AnyDiskName();
    if (all_known) return Map(open, name, disk);
    auto map = open.session->AddDiskMap("vm", name, CapacityOf(disk));
    ASSERT_TRUE(map.ok()) << map.status();
    EXPECT_EQ(base::ReasonOf((*map)->Append(IdsOf(disk))), "CHUNK_MISSING");
    open.disks.erase(name);
    open.cut_map = true;
  }

  void CutMap() {
    OpenSession& open = AnySession();
    const std::string name = AnyDiskName();
    ASSERT_TRUE(open.session->AddDiskMap("vm", name, kTestChunkSize).ok());
    open.disks.erase(name);
    open.cut_map = true;
  }

  static Manifest ManifestFor(const OpenSession& open, const std::function<uint64_t(const Disk&)>& capacity_of) {
    Manifest manifest;
    manifest.set_vm_uuid("vm");
    for (const auto& [name, disk] : open.disks) {
      auto& entry = *manifest.add_disks();
      entry.set_name(name);
      entry.set_capacity_bytes(static_cast<int64_t>(capacity_of(disk)));
    }
    return manifest;
  }

  void CommitOne() {
    OpenSession& open = AnySession();
    const Manifest manifest = ManifestFor(open, [this](const Disk& disk) { return CapacityOf(disk); });
    const auto committed = open.session->Commit({manifest});
    // A map that was cut and not made again keeps the session from being committed; it goes on.
    if (!committed.ok()) {
      EXPECT_EQ(base::ReasonOf(committed.status()), "UPLOAD_INVALID") << committed.status();
      EXPECT_TRUE(open.disks.empty() || open.cut_map);
      return End(open);
    }
    points_[committed->at(0).recovery_point_id()] = open.disks;
    End(open);
    while (points_.size() > kPointsMax) RemoveOne();
  }

  void End(OpenSession& open) { open = OpenSession(); }
  void AbortOne() { End(sessions_[Below(kSessions)]); }

  std::map<std::string, std::map<std::string, Disk>>::iterator AnyPoint() {
    return std::next(points_.begin(), Below(points_.size()));
  }

  void RemoveOne() {
    if (points_.empty()) return;
    const auto victim = AnyPoint();
    ASSERT_TRUE(repository_->RemoveRecoveryPoint(victim->first, {"", absl::ZeroDuration()}).ok());
    EXPECT_EQ(base::ReasonOf(repository_->ReadManifest(victim->first).status()), "RECOVERY_POINT_NOT_FOUND");
    points_.erase(victim);
  }

  void ExpectReads(Repository& repository, const std::string& id, const std::map<std::string, Disk>& disks) {
    for (const auto& [name, disk] : disks) ExpectReads(repository, id, name, disk, 0);
  }
  // From chunk `first` to the end.
  void ExpectReads(Repository& repository, const std::string& id, const std::string& name, const Disk& disk,
                   uint64_t first) {
    auto reader = repository.OpenDisk(id, name);
    ASSERT_TRUE(reader.ok()) << reader.status();
    EXPECT_EQ((*reader)->capacity_bytes(), CapacityOf(disk));
    ASSERT_TRUE((*reader)->Seek(first).ok());
    std::map<uint64_t, std::string> found;
    while (true) {
      const auto chunks = (*reader)->Next(kTestChunkSize);
      ASSERT_TRUE(chunks.ok()) << chunks.status();
      if (chunks->empty()) break;
      for (const DiskChunk& at : *chunks) {
        base::Bytes plain;
        ASSERT_TRUE(OpenChunk(repository.hasher(), at.chunk.id, at.chunk.codec, at.chunk.plain_length, at.chunk.data,
                              scratch_, plain)
                        .ok());
        found[at.offset_bytes / kTestChunkSize] = base::AsText(plain);
      }
    }
    for (uint64_t i = first; i < disk.size(); ++i) {
      const std::string expected = disk[i] < 0 ? "" : world_[static_cast<size_t>(disk[i])].plain;
      EXPECT_EQ(found[i], expected) << "chunk " << i << " of " << name;
    }
  }

  void ReadOne() {
    if (points_.empty()) return;
    const auto& [id, disks] = *AnyPoint();
    if (disks.empty()) return;
    const auto& [name, disk] = *std::next(disks.begin(), Below(disks.size()));
    ExpectReads(*repository_, id, name, disk, Below(disk.size()));
  }

  void ExpectSamePoints() {
    const auto list = repository_->ListRecoveryPoints();
    ASSERT_TRUE(list.ok()) << list.status();
    EXPECT_TRUE(list->problems.empty());
    std::set<std::string> shown, expected;
    for (const Manifest& point : list->points) shown.insert(point.recovery_point_id());
    for (const auto& [id, disks] : points_) expected.insert(id);
    EXPECT_EQ(shown, expected);
  }

  void ExpectVerified(const VerifyScope& scope) {
    const auto report = repository_->Verify(scope, {}, {});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(report->ok()) << (report->problems.empty() ? "damage" : report->problems[0]);
  }
  void ExpectVerifies() { ExpectVerified({}); }
  void VerifyOne() {
    if (!points_.empty()) ExpectVerified({AnyPoint()->first});
  }

  // Sessions that are open are aborted: what they sent stays known.
  void Reopen() {
    for (OpenSession& open : sessions_) End(open);
    repository_.reset();
    Open();
  }

  void CutPower() {
    auto after = fs_->AfterPowerCut(Below(4) == 0 ? nullptr : &luck_);
    for (OpenSession& open : sessions_) End(open);
    repository_.reset();
    fs_ = std::move(after);
    Open();
    if (::testing::Test::HasFailure()) return;
    ExpectSamePoints();
    // What was in packs that weren't sealed may be gone, but nothing that a point needs.
    LearnWhatIsKnown();
  }

  // Gives back what no point needs; sessions that are open would keep it.
  void Prune() {
    for (OpenSession& open : sessions_) End(open);
    PruneOptions options;
    options.young_pack_grace = options.condemned_grace = absl::ZeroDuration();
    options.compact_below_percent = static_cast<int>(Below(100));
    const auto report = repository_->Prune(options, {}, {});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(report->problems.empty());
    LearnWhatIsKnown();
  }

  void LearnWhatIsKnown() {
    std::set<int> needed;
    for (const auto& [id, disks] : points_) {
      for (const auto& [name, disk] : disks) needed.insert(disk.begin(), disk.end());
    }
    auto session = repository_->BeginSession();
    for (int content = 0; content < static_cast<int>(kContents); ++content) {
      const auto wanted = session->Wanted(std::vector{world_[static_cast<size_t>(content)].id});
      ASSERT_TRUE(wanted.ok()) << wanted.status();
      const bool known = wanted->at(0) == 0;
      EXPECT_TRUE(known || !needed.contains(content)) << "a chunk of a committed point is gone";
      EXPECT_TRUE(!known || known_[static_cast<size_t>(content)]) << "a chunk that nobody sent";
      known_[static_cast<size_t>(content)] = known;
    }
  }

  // In a copy of everything, a bit of a pack rots. Verification says so, and a backup of the same disks heals every
  // point.
  void FlipBit() {
    const auto copy = fs_->AfterPowerCut();
    const auto packs = copy->AllFiles(std::string(kPath) + "/packs");
    if (packs.empty() || points_.empty()) return;
    auto opened = Repository::Open(*copy, clock_, random_, kPath, SmallOptions());
    ASSERT_TRUE(opened.ok()) << opened.status();
    const std::string& victim = packs[Below(packs.size())];
    copy->FlipBit(victim, Below(8 * copy->ReadFile(victim)->size()));
    const auto report = (*opened)->Verify({}, {}, {});
    ASSERT_TRUE(report.ok()) << report.status();
    // What nothing needs, or has another copy, does no harm.
    EXPECT_FALSE(report->ok() && report->healed.empty()) << "a flipped bit of " << victim << " was not seen";
    for (const auto& [id, disks] : points_) {
      OpenSession again{(*opened)->BeginSession(), {}, false};
      for (const auto& [name, disk] : disks) {
        for (const int content : disk) {
          if (content < 0) continue;
          ASSERT_TRUE(Put(*again.session, content).ok());
        }
        Map(again, name, disk);
      }
    }
    for (const auto& [id, disks] : points_) ExpectReads(**opened, id, disks);
  }

  std::mt19937_64 engine_;
  base::SystemClock clock_;
  base::SeededRandom random_;
  base::SeededRandom luck_;
  std::unique_ptr<testing::MemoryFilesystem> fs_;
  std::unique_ptr<Repository> repository_;
  std::vector<OpenSession> sessions_;

  // The plain map.
  std::vector<Content> world_;
  std::vector<bool> known_;                                    // by content: the repository has it, or a session's pack
  std::map<std::string, std::map<std::string, Disk>> points_;  // by id, by name
  std::vector<std::byte> scratch_;
};

TEST(Model, DoesWhatAPlainMapWouldDo) {
  const uint64_t seed = Setting("UMBRA_MODEL_SEED", std::random_device()());
  const uint64_t operations = Setting("UMBRA_MODEL_OPERATIONS", testing::kSanitized ? 40'000 : 1'000'000);
  std::printf("UMBRA_MODEL_SEED=%llu, %llu operations\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(operations));
  std::fflush(stdout);
  Model model(seed);
  model.Run(operations);
  for (const auto& [name, count] : model.counts)
    std::printf("%9llu  %s\n", static_cast<unsigned long long>(count), name.c_str());
}

}  // namespace
}  // namespace umbra::repo

// Proves that a file tree's list comes back as it was made, that contents are laid out so that unchanged files keep their
// chunks, and that a reader refuses every list that could harm it.
#include "storage/filetree/file_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "storage/base/folder_tree.h"
#include "storage/base/status.h"
#include "storage/filetree/subject.h"

namespace umbra::filetree {
namespace {

constexpr uint64_t kChunk = 128 * base::kKiB;

Entry Of(Entry::Type type, const std::string& path) {
  Entry entry;
  entry.set_path(path);
  entry.set_type(type);
  entry.set_mode(0644);
  return entry;
}
Entry Folder(const std::string& path) { return Of(Entry::TYPE_FOLDER, path); }
Entry File(const std::string& path, uint64_t size) {
  Entry entry = Of(Entry::TYPE_FILE, path);
  entry.set_size_bytes(size);
  return entry;
}
Entry Link(Entry::Type type, const std::string& path, const std::string& target) {
  Entry entry = Of(type, path);
  entry.set_link_target(target);
  return entry;
}

std::vector<Entry> Sample() {
  Entry with_attributes = File("srv/db/data", 10 * kChunk + 17);
  auto* attribute = with_attributes.add_attributes();
  attribute->set_name("user.note");
  attribute->set_value(std::string("\0\xff", 2));
  with_attributes.set_modify_time_ns(-5);
  return {Folder("srv/db"), with_attributes, File("srv/db/empty", 0), Link(Entry::TYPE_HARD_LINK, "srv/db/same", "srv/db/data"),
          File("srv/db/small", 100), Link(Entry::TYPE_SYMLINK, "srv/db/where", "/tmp"), File("srv/db-wal", 4096)};
}

Plan PlanOf(std::vector<Entry>& entries) {
  auto plan = MakePlan(entries, kChunk);
  EXPECT_TRUE(plan.ok()) << base::Describe(plan.status());
  return *std::move(plan);
}

TEST(FileTree, ComesBackAsItWasMade) {
  std::vector<Entry> entries = Sample();
  const Plan plan = PlanOf(entries);
  const auto header = ParseHeader(base::AsBytes(plan.list), plan.header.tree_bytes);
  ASSERT_TRUE(header.ok()) << base::Describe(header.status());
  EXPECT_EQ(header->list_bytes, plan.list.size());
  EXPECT_EQ(header->data_begin % kChunk, 0u);
  const auto read = ReadList(base::AsBytes(plan.list), *header);
  ASSERT_TRUE(read.ok()) << base::Describe(read.status());
  ASSERT_EQ(read->size(), entries.size());
  for (size_t i = 0; i < entries.size(); ++i) EXPECT_EQ((*read)[i].SerializeAsString(), entries[i].SerializeAsString());
}

TEST(FileTree, CanBeEmptyOrHoldNothingButNames) {
  std::vector<Entry> none;
  Plan plan = PlanOf(none);
  EXPECT_EQ(plan.header.tree_bytes, kHeaderBytes);
  auto header = ParseHeader(base::AsBytes(plan.list), plan.header.tree_bytes);
  ASSERT_TRUE(header.ok());
  EXPECT_TRUE(ReadList(base::AsBytes(plan.list), *header).ok());
  std::vector<Entry> folders = {Folder("a"), Folder("a/b")};
  plan = PlanOf(folders);
  EXPECT_EQ(plan.header.tree_bytes, plan.list.size());
  header = ParseHeader(base::AsBytes(plan.list), plan.header.tree_bytes);
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(ReadList(base::AsBytes(plan.list), *header)->size(), 2u);
}

TEST(FileTree, LargeFilesBeginAChunkAndSmallOnesShareThem) {
  std::vector<Entry> entries = {Folder("f")};
  for (int i = 0; i < 100; ++i) entries.push_back(File(fmt::format("f/{:03}", i), 1000));
  entries.push_back(File("f/large", kChunk));
  entries.push_back(File("f/quarter", kChunk / 4));
  PlanOf(entries);
  uint64_t chunks = 0;
  for (const Entry& entry : entries) {
    if (entry.type() != Entry::TYPE_FILE) continue;
    const bool aligned = entry.data_offset_bytes() % kChunk == 0;
    if (entry.size_bytes() >= kChunk / 4) {
      EXPECT_TRUE(aligned) << entry.path();
    }
    EXPECT_EQ(entry.data_offset_bytes() / kChunk, (entry.data_offset_bytes() + entry.size_bytes() - 1) / kChunk) << entry.path();
    chunks += aligned;
  }
  EXPECT_LT(chunks, 30u);
}

// What stands in each chunk, by name: equal text, equal chunk.
std::vector<std::string> Chunks(const std::vector<Entry>& entries) {
  std::vector<std::string> chunks;
  for (const Entry& entry : entries) {
    if (entry.type() != Entry::TYPE_FILE) continue;
    const size_t chunk = entry.data_offset_bytes() / kChunk;
    if (chunk >= chunks.size()) chunks.resize(chunk + 1);
    chunks[chunk] += fmt::format("{}:{}@{};", entry.path(), entry.size_bytes(), entry.data_offset_bytes() % kChunk);
  }
  return chunks;
}

TEST(FileTree, AChangedFileMovesFewOthersToOtherChunks) {
  std::vector<Entry> before = {Folder("f")};
  for (int i = 0; i < 2000; ++i) before.push_back(File(fmt::format("f/{:04}", i), 700 + i % 300));
  std::vector<Entry> after = before;
  after.insert(after.begin() + 500, File("f/0498x", 5000));
  after[1000].set_size_bytes(9999);
  PlanOf(before);
  PlanOf(after);
  const std::vector<std::string> old = Chunks(before);
  int fresh = 0;
  for (const std::string& chunk : Chunks(after)) fresh += std::find(old.begin(), old.end(), chunk) == old.end();
  EXPECT_LE(fresh, 8) << "of " << old.size();
}

TEST(FileTree, RefusesWhatIsBeyondItsBounds) {
  std::vector<Entry> twice = {File("a", 1), File("a", 1)};
  EXPECT_EQ(base::ReasonOf(MakePlan(twice, kChunk).status()), "INVALID_REQUEST");
  std::vector<Entry> huge = {File("a", kTreeBytesMax), File("b", kTreeBytesMax)};
  EXPECT_EQ(base::ReasonOf(MakePlan(huge, kChunk).status()), "FILE_SET_TOO_LARGE");
  std::vector<Entry> wordy = {File("a", 1)};
  for (int i = 0; i < 5; ++i) wordy[0].add_attributes()->set_value(std::string(64 * base::kKiB, 'v'));
  EXPECT_EQ(base::ReasonOf(MakePlan(wordy, kChunk).status()), "FILE_SET_TOO_LARGE");
}

TEST(FileTree, RefusesADamagedHeader) {
  std::vector<Entry> entries = Sample();
  const Plan plan = PlanOf(entries);
  const uint64_t size = plan.header.tree_bytes;
  EXPECT_FALSE(ParseHeader(base::AsBytes(std::string_view(plan.list).substr(0, kHeaderBytes - 1)), size).ok());
  EXPECT_FALSE(ParseHeader(base::AsBytes(plan.list), size + 1).ok());
  std::string newer = plan.list;
  newer[8] = 2;
  EXPECT_EQ(ParseHeader(base::AsBytes(newer), size).status().code(), absl::StatusCode::kUnimplemented);
  for (const size_t at : {0, 12, 22, 30, 38, 46}) {
    std::string damaged = plan.list;
    damaged[at] ^= 0x40;
    EXPECT_EQ(base::ReasonOf(ParseHeader(base::AsBytes(damaged), size).status()), "FILE_TREE_DAMAGED") << at;
  }
}

struct Hostile {
  const char* name;
  std::function<void(std::vector<Entry>&)> change;  // of Sample() with its layout
};

// A list with these entries as they are, whatever they say.
std::string Forge(const std::vector<Entry>& entries, Header header, Header* out) {
  std::string list(kHeaderBytes, '\0');
  for (const Entry& entry : entries) {
    const std::string bytes = entry.SerializeAsString();
    for (int i = 0; i < 4; ++i) list.push_back(static_cast<char>(bytes.size() >> (8 * i)));
    list += bytes;
  }
  header.list_bytes = list.size();
  header.entry_count = entries.size();
  *out = header;
  return list;
}

TEST(FileTree, RefusesHostileLists) {
  const std::vector<Hostile> cases = {
      {"upwards", [](auto& e) { e[0].set_path("../etc"); }},
      {"absolute", [](auto& e) { e[0].set_path("/etc"); }},
      {"no path", [](auto& e) { e[0].clear_path(); }},
      {"zero byte", [](auto& e) { e[0].set_path(std::string("a\0b", 3)); }},
      {"twice", [](auto& e) { e[2].set_path(e[1].path()); }},
      {"out of order", [](auto& e) { std::swap(e[1], e[2]); }},
      {"below a file", [](auto& e) { e[2].set_path("srv/db/data/x"); }},
      {"below a link", [](auto& e) { e[6].set_path("srv/db/where/passwd"); }},
      {"below a hard link", [](auto& e) { e[4].set_path("srv/db/same/x"); }},
      {"no type", [](auto& e) { e[0].clear_type(); }},
      {"unknown type", [](auto& e) { e[0].set_type(static_cast<Entry::Type>(9)); }},
      {"mode", [](auto& e) { e[0].set_mode(0100644); }},
      {"owner", [](auto& e) { e[0].set_uid(0xffffffff); }},
      {"folder with content", [](auto& e) { e[0].set_size_bytes(5); }},
      {"file with a target", [](auto& e) { e[1].set_link_target("x"); }},
      {"link to nothing", [](auto& e) { e[5].clear_link_target(); }},
      {"link to a zero byte", [](auto& e) { e[5].set_link_target(std::string("a\0", 2)); }},
      {"hard link outside", [](auto& e) { e[3].set_link_target("../../etc/shadow"); }},
      {"hard link to a later one", [](auto& e) { e[3].set_link_target("srv/db/small"); }},
      {"hard link to a folder", [](auto& e) { e[3].set_link_target("srv/db"); }},
      {"hard link to what isn't there", [](auto& e) { e[3].set_link_target("srv/db/dat"); }},
      {"content outside", [](auto& e) { e[6].set_size_bytes(kTreeBytesMax); }},
      {"content that wraps", [](auto& e) { e[6].set_data_offset_bytes(~0ull); }},
      {"content of another", [](auto& e) { e[4].set_data_offset_bytes(kChunk); }},
      {"attribute without a name", [](auto& e) { e[1].mutable_attributes(0)->clear_name(); }},
      {"attribute too long", [](auto& e) { e[1].mutable_attributes(0)->set_value(std::string(70000, 'x')); }},
  };
  std::vector<Entry> good = Sample();
  const Header header = PlanOf(good).header;
  Header forged;
  std::string list = Forge(good, header, &forged);
  ASSERT_TRUE(ReadList(base::AsBytes(list), forged).ok()) << "the unchanged list is fine";
  for (const Hostile& hostile : cases) {
    std::vector<Entry> entries = good;
    hostile.change(entries);
    list = Forge(entries, header, &forged);
    EXPECT_EQ(base::ReasonOf(ReadList(base::AsBytes(list), forged).status()), "FILE_TREE_DAMAGED") << hostile.name;
  }
  list = Forge(good, header, &forged);
  ++forged.entry_count;
  EXPECT_EQ(base::ReasonOf(ReadList(base::AsBytes(list), forged).status()), "FILE_TREE_DAMAGED") << "one too few";
  forged.entry_count -= 2;
  EXPECT_EQ(base::ReasonOf(ReadList(base::AsBytes(list), forged).status()), "FILE_TREE_DAMAGED") << "one too many";
}

TEST(FileTree, IsReadPieceByPieceAndGoneOnWith) {
  std::vector<Entry> entries = Sample();
  const Plan plan = PlanOf(entries);
  ListReader reader(plan.header);
  const base::Bytes list = base::AsBytes(plan.list);
  EXPECT_EQ(reader.Next(list.subspan(0, kHeaderBytes + 2), 0).status().code(), absl::StatusCode::kOutOfRange);
  ASSERT_TRUE(reader.Next(list, 0).ok());
  ASSERT_TRUE(reader.Next(list.subspan(reader.offset()), reader.offset()).ok());
  ListReader later(plan.header, reader.offset(), reader.position());
  const auto third = later.Next(list.subspan(later.offset()), later.offset());
  ASSERT_TRUE(third.ok()) << base::Describe(third.status());
  EXPECT_EQ(third->path(), entries[2].path());
  // A place that no reader gave may read nonsense, but not outside.
  for (uint64_t at = 0; at < plan.list.size() + 10; ++at) ListReader(plan.header, at, 1).Next(list, 0).status().IgnoreError();
}

TEST(FileTree, SubjectsOfFileSetsAreNoUuids) {
  EXPECT_EQ(SubjectOfFileSet("shop"), "fileset:shop");
  EXPECT_EQ(FileSetOf("fileset:shop"), "shop");
  EXPECT_EQ(FileSetOf("4a7d1c5e-0000-4000-8000-000000000001"), std::nullopt);
}

}  // namespace
}  // namespace umbra::filetree

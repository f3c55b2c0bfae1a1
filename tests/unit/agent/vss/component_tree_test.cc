// Proves what a selected component takes with it, which selections are legal, how one is chosen automatically, and what
// a restore may take out of a set; with the tree of Microsoft's own example.
#include "agent/vss/component_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/vss/errors.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// The example of "Working with Selectability for Backup": Executables and its ConfigFiles are in every backup;
// writerData brings two sets with two months each; License can be chosen by itself.
class ComponentTreeTest : public ::testing::Test {
 protected:
  ComponentTreeTest() : metadata_(Example()), tree_(metadata_) {}

  static void Add(WriterMetadata* m, const char* path, const char* name, bool selectable, bool for_restore = false) {
    Component c;
    c.logical_path = path;
    c.name = name;
    c.selectable = selectable;
    c.selectable_for_restore = for_restore;
    m->components.push_back(c);
  }
  static WriterMetadata Example() {
    WriterMetadata m;
    Add(&m, "", "Executables", false);
    Add(&m, "Executables", "ConfigFiles", false);
    Add(&m, "", "LicenseInfo", true);
    Add(&m, "", "writerData", true);
    Add(&m, "writerData", "Set1", false, true);
    Add(&m, "writerData\\Set1", "Jan", false, true);
    Add(&m, "writerData\\Set1", "Dec", false);
    Add(&m, "writerData\\Set2", "Jan", false);  // Set2 is no component
    Add(&m, "writerData", "Usage", true, true);
    Add(&m, "writerData\\Usage", "Jan", false);
    Add(&m, "", "writerData2", true);  // no relative of writerData
    return m;
  }
  const Component* At(std::string_view name) {
    const Component* c = tree_.Find(name);
    EXPECT_NE(c, nullptr) << name;
    return c;
  }
  std::vector<const Component*> All(std::initializer_list<std::string_view> names) {
    std::vector<const Component*> found;
    for (const std::string_view name : names) found.push_back(At(name));
    return found;
  }
  static std::vector<std::string> Names(const std::vector<const Component*>& components) {
    std::vector<std::string> names;
    for (const Component* c : components) names.push_back(FullName(c->logical_path, c->name));
    return names;
  }

  WriterMetadata metadata_;
  ComponentTree tree_;
};

TEST_F(ComponentTreeTest, AncestorsAreFoundByWholeElements) {
  EXPECT_EQ(FullName("", "a"), "a");
  EXPECT_EQ(FullName("x\\y", "a"), "x\\y\\a");
  EXPECT_TRUE(IsAncestor("a", "a"));
  EXPECT_TRUE(IsAncestor("a", "a\\b"));
  EXPECT_FALSE(IsAncestor("a", "ab"));
  EXPECT_FALSE(IsAncestor("a", ""));
  EXPECT_FALSE(IsAncestor("a\\b", "a"));
  EXPECT_THAT(Names(tree_.Descendants(*At("writerData\\Set1"))),
              ElementsAre("writerData\\Set1\\Jan", "writerData\\Set1\\Dec"));
  EXPECT_THAT(Names(tree_.SelectableAncestors(*At("writerData\\Usage\\Jan"))),
              ElementsAre("writerData\\Usage", "writerData"));
}

TEST_F(ComponentTreeTest, EveryComponentHasOneOfFourWaysIn) {
  EXPECT_EQ(tree_.InclusionOf(*At("Executables")), Inclusion::kMandatory);
  EXPECT_EQ(tree_.InclusionOf(*At("Executables\\ConfigFiles")), Inclusion::kMandatory);
  EXPECT_EQ(tree_.InclusionOf(*At("writerData")), Inclusion::kOptional);
  EXPECT_EQ(tree_.InclusionOf(*At("writerData\\Set1")), Inclusion::kImplicit);
  EXPECT_EQ(tree_.InclusionOf(*At("writerData\\Set2\\Jan")), Inclusion::kImplicit);
  EXPECT_EQ(tree_.InclusionOf(*At("writerData\\Usage")), Inclusion::kEither);
  EXPECT_THAT(Names(tree_.Mandatory()), ElementsAre("Executables", "Executables\\ConfigFiles"));
}

TEST_F(ComponentTreeTest, ExplicitOneBringsItsSet) {
  EXPECT_THAT(Names(tree_.Included(All({"writerData"}))),
              ElementsAre("writerData", "writerData\\Set1", "writerData\\Set1\\Jan", "writerData\\Set1\\Dec",
                          "writerData\\Set2\\Jan", "writerData\\Usage", "writerData\\Usage\\Jan"));
  EXPECT_THAT(Names(tree_.Included(All({"writerData\\Usage"}))),
              ElementsAre("writerData\\Usage", "writerData\\Usage\\Jan"));
  // What isn't selectable brings only itself.
  EXPECT_THAT(Names(tree_.Included(All({"Executables"}))), ElementsAre("Executables"));
}

TEST_F(ComponentTreeTest, SelectionsThatBreakTheRulesAreRefusedWithNames) {
  const auto refused = [&](std::initializer_list<std::string_view> names) {
    const absl::Status status = tree_.CheckSelection(All(names));
    EXPECT_EQ(base::ReasonOf(status), "INVALID_REQUEST");
    return base::MessageOf(status);
  };
  EXPECT_TRUE(tree_.CheckSelection({}).ok());
  EXPECT_TRUE(tree_.CheckSelection(All({"Executables", "Executables\\ConfigFiles"})).ok());
  EXPECT_TRUE(tree_.CheckSelection(All({"Executables", "Executables\\ConfigFiles", "writerData"})).ok());
  EXPECT_TRUE(tree_.CheckSelection(All({"Executables", "Executables\\ConfigFiles", "writerData\\Usage"})).ok());
  EXPECT_THAT(refused({"writerData"}), HasSubstr("Executables must be in every backup"));
  EXPECT_THAT(refused({"Executables", "writerData"}), HasSubstr("ConfigFiles must be"));
  EXPECT_THAT(refused({"Executables", "Executables\\ConfigFiles", "writerData\\Set1"}),
              HasSubstr("comes with writerData"));
  EXPECT_THAT(refused({"Executables", "Executables\\ConfigFiles", "writerData", "writerData\\Usage"}),
              HasSubstr("Usage comes with writerData already"));
}

TEST_F(ComponentTreeTest, AutomaticSelectionTakesEverythingThatIsWantedOnceAndIsLegal) {
  const auto chosen = tree_.AutoSelect([](const Component&) { return true; });
  EXPECT_THAT(Names(chosen), UnorderedElementsAre("Executables", "Executables\\ConfigFiles", "LicenseInfo",
                                                  "writerData", "writerData2"));
  EXPECT_TRUE(tree_.CheckSelection(chosen).ok());
  EXPECT_EQ(tree_.Included(chosen).size(), metadata_.components.size());
}

TEST_F(ComponentTreeTest, AutomaticSelectionDropsWhatIsAboveSomethingUnwanted) {
  // One month on a volume outside of the set: its whole set goes, but for what can be chosen by itself.
  const auto chosen = tree_.AutoSelect([&](const Component& c) { return &c != At("writerData\\Set1\\Dec"); });
  EXPECT_THAT(Names(chosen), UnorderedElementsAre("Executables", "Executables\\ConfigFiles", "LicenseInfo",
                                                  "writerData\\Usage", "writerData2"));
  EXPECT_TRUE(tree_.CheckSelection(chosen).ok());
}

TEST_F(ComponentTreeTest, WithoutAMandatoryOneNothingOfTheWriterIsSelected) {
  EXPECT_THAT(tree_.AutoSelect([&](const Component& c) { return &c != At("Executables\\ConfigFiles"); }), IsEmpty());
}

TEST_F(ComponentTreeTest, RestoreTakesOutOnlyWhatMayBeAlone) {
  const auto explicit_ones = All({"Executables", "writerData"});
  auto whole = tree_.SelectForRestore(*At("writerData"), explicit_ones);
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->selected, At("writerData"));
  EXPECT_FALSE(whole->as_subcomponent);
  // Explicit at backup: always, whatever its selectableForRestore says.
  EXPECT_TRUE(tree_.SelectForRestore(*At("Executables"), explicit_ones).ok());
  auto part = tree_.SelectForRestore(*At("writerData\\Set1\\Jan"), explicit_ones);
  ASSERT_TRUE(part.ok());
  EXPECT_EQ(part->selected, At("writerData"));
  EXPECT_TRUE(part->as_subcomponent);
  EXPECT_EQ(base::ReasonOf(tree_.SelectForRestore(*At("writerData\\Set1\\Dec"), explicit_ones).status()),
            "INVALID_REQUEST");
  EXPECT_EQ(base::ReasonOf(tree_.SelectForRestore(*At("LicenseInfo"), explicit_ones).status()), "VSS_OBJECT_NOT_FOUND");
}

TEST(BackupTypes, FollowTheSchema) {
  struct Case {
    BackupType asked;
    uint32_t bit;
  };
  for (const Case& c :
       {Case{BackupType::kIncremental, kSchemaIncremental}, Case{BackupType::kDifferential, kSchemaDifferential},
        Case{BackupType::kLog, kSchemaLog}, Case{BackupType::kCopy, kSchemaCopy}}) {
    EXPECT_EQ(EffectiveBackupType(c.asked, c.bit), c.asked);
    EXPECT_EQ(EffectiveBackupType(c.asked, ~c.bit), BackupType::kFull);
    EXPECT_EQ(EffectiveBackupType(c.asked, 0), BackupType::kFull);
  }
  EXPECT_EQ(EffectiveBackupType(BackupType::kUndefined, ~0u), BackupType::kFull);
  // SQL Server's 881: differential and copy, no incremental, no log.
  EXPECT_EQ(EffectiveBackupType(BackupType::kDifferential, 881), BackupType::kDifferential);
  EXPECT_EQ(EffectiveBackupType(BackupType::kIncremental, 881), BackupType::kFull);
  EXPECT_EQ(EffectiveBackupType(BackupType::kCopy, 881), BackupType::kCopy);
}

TEST(BackupTypes, SnapshotIsNeededWhenAFileMustComeFromIt) {
  Component c;
  EXPECT_FALSE(NeedsSnapshot(c, BackupType::kFull, 0));
  c.volumes = {"/v/"};
  EXPECT_TRUE(NeedsSnapshot(c, BackupType::kFull, 0));  // more isn't known
  FileSet set;
  set.backup_type_mask = kFileSpecFullBackupRequired | kFileSpecLogBackupRequired | kFileSpecLogSnapshotRequired;
  c.files = {set};
  EXPECT_FALSE(NeedsSnapshot(c, BackupType::kFull, 0));
  EXPECT_TRUE(NeedsSnapshot(c, BackupType::kLog, kSchemaLog));
  EXPECT_FALSE(NeedsSnapshot(c, BackupType::kLog, 0)) << "for a writer that can't, it is a full backup";
  set.backup_type_mask = kFileSpecDefault;
  c.log_files = {set};
  EXPECT_TRUE(NeedsSnapshot(c, BackupType::kFull, 0));
}

}  // namespace
}  // namespace umbra::vss

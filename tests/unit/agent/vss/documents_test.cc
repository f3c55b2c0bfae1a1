// Proves that both XML documents are read and written in the form of real ones: golden files, what isn't known
// survives, what is damaged or foreign is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/vss/backup_components.h"
#include "agent/vss/writer_metadata.h"
#include "storage/base/filesystem.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

using ::testing::HasSubstr;

std::string Golden(const std::string& name) {
  base::PosixFilesystem files;
  auto text = files.ReadFile(std::string(UMBRA_GOLDEN_FOLDER) + "/vss/" + name);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.value_or("");
}

TEST(WriterMetadataDocument, GoldenFileRoundTrip) {
  const std::string golden = Golden("writer_metadata.xml");
  const auto metadata = ParseWriterMetadata(golden);
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  EXPECT_EQ(metadata->writer_id, Guid::Literal("66841cd4-6ded-4f4b-8f17-fd23f8ddc3de"));
  EXPECT_EQ(metadata->writer_name, "Microsoft Hyper-V VSS Writer");
  EXPECT_EQ(metadata->usage, UsageType::kUserData);
  EXPECT_EQ(metadata->restore_method.method, RestoreMethod::kRestoreIfCanReplace);
  EXPECT_EQ(metadata->restore_method.writer_restore, WriterRestore::kAlways);
  ASSERT_EQ(metadata->components.size(), 2u);
  const Component* vm = metadata->Find("", "4E5B3C1A-90D2-4C5E-8F17-0A6B7C8D9E0F");
  ASSERT_NE(vm, nullptr);
  EXPECT_EQ(vm->caption, "Backup Using Child Partition Snapshot\\mail01");
  EXPECT_EQ(vm->flags, kComponentBackupRecovery);
  EXPECT_TRUE(vm->selectable);
  EXPECT_EQ(vm->files.size(), 2u);
  EXPECT_TRUE(vm->files[1].recursive);
  EXPECT_EQ(metadata->components[0].type, ComponentType::kDatabase);
  EXPECT_EQ(metadata->components[0].log_files.size(), 1u);
  EXPECT_EQ(metadata->exclude_files.size(), 1u);
  EXPECT_EQ(PrintWriterMetadata(*metadata), golden);
}

TEST(BackupComponentsDocument, GoldenFileRoundTrip) {
  const std::string golden = Golden("backup_components.xml");
  auto components = ParseBackupComponents(golden);
  ASSERT_TRUE(components.ok()) << components.status();
  EXPECT_TRUE(components->state.select_components);
  EXPECT_EQ(components->state.type, BackupType::kFull);
  BackupComponent* vm = components->Find(
      {Guid::Literal("66841cd4-6ded-4f4b-8f17-fd23f8ddc3de"), "", "4E5B3C1A-90D2-4C5E-8F17-0A6B7C8D9E0F"});
  ASSERT_NE(vm, nullptr);
  EXPECT_EQ(vm->backup_metadata, "mechanism=child_snapshot");
  EXPECT_EQ(vm->succeeded, true);
  EXPECT_EQ(components->snapshots.size(), 1u);
  EXPECT_EQ(PrintBackupComponents(*components), golden);
}

TEST(BackupComponentsDocument, EveryFieldSurvives) {
  BackupComponents components;
  components.snapshot_set_id = Guid::Literal("0d9c2d43-7a53-4b9e-8b34-1c5f2be4a6d0");
  components.context = kContextAppRollback;
  components.snapshots.push_back({Guid::Literal("0d9c2d43-7a53-4b9e-8b34-1c5f2be4a6d1"),
                                  Guid::Literal("0d9c2d43-7a53-4b9e-8b34-1c5f2be4a6d2"), "/vm/x/"});
  WriterComponents writer;
  writer.writer_id = Guid::Literal("66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
  writer.instance_name = "one";
  writer.backup_schema = kSchemaCopy;
  BackupComponent c;
  c.logical_path = "a\\b";
  c.name = "n <&\"> \xC3\xA9";
  c.backup_options = "line 1\nline 2\ttab";
  for (int i = 0; i < 256; ++i) c.backup_metadata += static_cast<char>(i);
  c.backup_stamp = "stamp";
  c.previous_backup_stamp = "before";
  c.succeeded = false;
  c.prepare_for_backup_failure = "1";
  c.post_snapshot_failure = "2";
  c.failure = {Code::kWriterErrorPartialFailure, 7, "3"};
  c.partial_files = {{"/db", "a.dat", "0:512,0x400:1", std::string("\0m", 2)}};
  c.differenced_files = {{"/db", "*.log", true, absl::FromUnixMicros(1'700'000'000'123'456), ""},
                         {"/db", "*.dat", false, std::nullopt, "lsn 7"}};
  c.directed_targets = {{"/db", "a", "0:1", "/new", "b", "2:1"}};
  c.used_mappings = {{"/old", "*", false, "/elsewhere"}};
  c.restore_name = "other";
  c.authoritative = true;
  c.roll_forward = {RollForwardType::kPartial, "until noon"};
  c.target_instance = Guid::Literal("7b0f4c7e-2f6a-4f5e-9a77-3d5a1f0c9e23");
  c.target_instance_name = "B";
  c.selected_for_restore = true;
  c.restore_subcomponents = {"x\\y"};
  c.restore_options = "how";
  c.additional_restores = true;
  c.new_targets = {{"/old", "*.img", true, "/new"}};
  c.restore_metadata = "m";
  c.restore_target = RestoreTarget::kAlternate;
  c.file_restore_status = FileRestoreStatus::kFailed;
  c.pre_restore_failure = "4";
  c.post_restore_failure = "5";
  writer.components.push_back(c);
  components.writers.push_back(writer);
  const auto again = ParseBackupComponents(PrintBackupComponents(components));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->writers, components.writers);
  EXPECT_EQ(again->snapshots, components.snapshots);
  EXPECT_EQ(again->context, components.context);
}

TEST(Documents, KeepWhatTheyDoNotKnow) {
  const std::string xml = R"(<WRITER_METADATA xmlns="x-schema:#VssWriterMetadataInfo" version="1.2" later="1">
    <IDENTIFICATION writerId="66841CD4-6DED-4F4B-8F17-FD23F8DDC3DE" instanceId="7b0f4c7e-2f6a-4f5e-9a77-3d5a1f0c9e21" extra="x"/>
    <NEW_THING a="1"><INNER>text &amp; more</INNER></NEW_THING>
    <BACKUP_LOCATIONS><FILE_GROUP componentName="c" fancy="yes"><DEPENDENCY writerId="w"/></FILE_GROUP></BACKUP_LOCATIONS>
  </WRITER_METADATA>)";
  const auto metadata = ParseWriterMetadata(xml);
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  const std::string printed = PrintWriterMetadata(*metadata);
  for (const char* kept :
       {"later=\"1\"", "extra=\"x\"", "fancy=\"yes\"", "<DEPENDENCY writerId=\"w\"", "text &amp; more"}) {
    EXPECT_THAT(printed, HasSubstr(kept));
  }
  EXPECT_EQ(*ParseWriterMetadata(printed), *metadata);
}

// What comes in in the many forms of real documents goes out in ours: pairs of files NAME.in.xml and NAME.out.xml.
TEST(Documents, GoldenPairs) {
  for (const std::string name : {"sql_like", "system_state", "unknown_content", "upper_case_and_order"}) {
    SCOPED_TRACE(name);
    const auto metadata = ParseWriterMetadata(Golden("pairs/" + name + ".in.xml"));
    ASSERT_TRUE(metadata.ok()) << metadata.status();
    EXPECT_EQ(PrintWriterMetadata(*metadata), Golden("pairs/" + name + ".out.xml"));
    EXPECT_EQ(*ParseWriterMetadata(Golden("pairs/" + name + ".out.xml")), *metadata);
  }
  for (const std::string name : {"components_sql_like", "components_restore"}) {
    SCOPED_TRACE(name);
    const auto components = ParseBackupComponents(Golden("pairs/" + name + ".in.xml"));
    ASSERT_TRUE(components.ok()) << components.status();
    EXPECT_EQ(PrintBackupComponents(*components), Golden("pairs/" + name + ".out.xml"));
    const auto again = ParseBackupComponents(Golden("pairs/" + name + ".out.xml"));
    EXPECT_EQ(again->writers, components->writers);
  }
}

TEST(WriterMetadataDocument, WhatMicrosoftsFormDoesNotShowIsKeptInOurNamespace) {
  WriterMetadata m;
  m.writer_id = Guid::Literal("66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
  m.instance_id = Guid::Literal("7b0f4c7e-2f6a-4f5e-9a77-3d5a1f0c9e21");
  m.restore_method.method = RestoreMethod::kRestoreToAlternateLocation;
  m.restore_method.writer_restore = WriterRestore::kIfReplaceFails;
  m.restore_method.alternate_mappings = {{"/db", "*", true, "/alt"}};
  Component c;
  c.name = "c";
  FileSet set;
  set.path = "/db";
  set.filespec = "*";
  set.alternate_path = "/stage";
  c.files = {set};
  c.dependencies = {{Guid::Literal("7b0f4c7e-2f6a-4f5e-9a77-3d5a1f0c9e22"), "path", "other"}};
  m.components = {c};
  const std::string printed = PrintWriterMetadata(m);
  const auto again = ParseWriterMetadata(printed);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, m) << printed;
  EXPECT_THAT(printed, HasSubstr("umbra:alternatePath=\"/stage\""));
}

TEST(Documents, ReadUtf16) {
  const std::string utf8 = Golden("backup_components.xml");
  std::string utf16 = "\xFF\xFE";
  for (const char c : utf8) {
    utf16 += c;
    utf16 += '\0';
  }
  auto components = ParseBackupComponents(utf16);
  ASSERT_TRUE(components.ok()) << components.status();
  EXPECT_EQ(PrintBackupComponents(*components), utf8);
  // The other byte order, and without the mark at the beginning.
  std::string big_endian = "\xFE\xFF";
  for (const char c : utf8) (big_endian += '\0') += c;
  EXPECT_TRUE(ParseBackupComponents(big_endian).ok());
  EXPECT_TRUE(ParseBackupComponents(utf16.substr(2)).ok());
}

TEST(Documents, KeepUnknownElementsAsTheyAreInside) {
  const std::string inner = "<NEW_THING a=\"1\">\n  <!-- why -->  <INNER/> text <?do it?><![CDATA[<raw>]]></NEW_THING>";
  const std::string xml =
      "<WRITER_METADATA xmlns=\"x-schema:#VssWriterMetadataInfo\"><IDENTIFICATION "
      "writerId=\"66841cd4-6ded-4f4b-8f17-fd23f8ddc3de\" instanceId=\"7b0f4c7e-2f6a-4f5e-9a77-3d5a1f0c9e21\"/>" +
      inner + "</WRITER_METADATA>";
  const auto metadata = ParseWriterMetadata(xml);
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  const std::string printed = PrintWriterMetadata(*metadata);
  for (const char* kept : {"\n  <!-- why -->  <INNER", " text <?do it?><![CDATA[<raw>]]></NEW_THING>"}) {
    EXPECT_THAT(printed, HasSubstr(kept));
  }
  EXPECT_EQ(PrintWriterMetadata(*ParseWriterMetadata(printed)), printed);
}

TEST(Documents, KeepWhatALaterVersionOfOursAdds) {
  const std::string golden = Golden("backup_components.xml");
  std::string later = golden;
  later.replace(later.find("owner_tag=job-7-1\""), 18, "owner_tag=job-7-1\" later=\"x\"");
  const auto components = ParseBackupComponents(later);
  ASSERT_TRUE(components.ok()) << components.status();
  EXPECT_THAT(PrintBackupComponents(*components), HasSubstr("later=\"x\""));
}

std::string Repeat(std::string_view text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

struct Refused {
  const char* name;
  std::string xml;
  Code code;
};

TEST(Documents, RefuseWhatIsDamagedOrForeign) {
  const std::string head = "<WRITER_METADATA xmlns=\"x-schema:#VssWriterMetadataInfo\">";
  const std::string id =
      "<IDENTIFICATION writerId=\"66841cd4-6ded-4f4b-8f17-fd23f8ddc3de\" "
      "instanceId=\"7b0f4c7e-2f6a-4f5e-9a77-3d5a1f0c9e21\"/>";
  const Refused cases[] = {
      {"empty", "", Code::kCorruptXmlDocument},
      {"cut off", head + id, Code::kCorruptXmlDocument},
      {"doctype", "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>" + head + id + "</WRITER_METADATA>",
       Code::kCorruptXmlDocument},
      {"no UTF-8 in a name", head + "<IDENTIFICATION \xcc=\"0\"/></WRITER_METADATA>", Code::kCorruptXmlDocument},
      {"overlong UTF-8", head + id + "<X a=\"\xc0\xaf\"/></WRITER_METADATA>", Code::kCorruptXmlDocument},
      {"restore method without a method", head + id + "<RESTORE_METHOD writerRestore=\"always\"/></WRITER_METADATA>",
       Code::kInvalidXmlDocument},
      {"nested too deep", head + id + Repeat("<a>", 200'000) + Repeat("</a>", 200'000) + "</WRITER_METADATA>",
       Code::kCorruptXmlDocument},
      {"an entity of a stranger",
       "<?xml version=\"1.0\"?><!DOCTYPE r [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>" + head + id +
           "<X>&b;</X></WRITER_METADATA>",
       Code::kCorruptXmlDocument},
      {"two roots", head + id + "</WRITER_METADATA><WRITER_METADATA/>", Code::kCorruptXmlDocument},
      {"mask too large",
       head + id +
           "<BACKUP_LOCATIONS><FILE_GROUP componentName=\"c\"><FILE_LIST path=\"p\" filespec=\"*\" "
           "filespecBackupType=\"4294967296\"/></FILE_GROUP></BACKUP_LOCATIONS></WRITER_METADATA>",
       Code::kInvalidXmlDocument},
      {"file set without a path",
       head + id +
           "<BACKUP_LOCATIONS><FILE_GROUP componentName=\"c\"><FILE_LIST filespec=\"*\"/></FILE_GROUP>"
           "</BACKUP_LOCATIONS></WRITER_METADATA>",
       Code::kInvalidXmlDocument},
      {"too large", std::string(kMaxDocumentBytes + 1, ' '), Code::kCorruptXmlDocument},
      {"other root", "<x/>", Code::kInvalidXmlDocument},
      {"no namespace", "<WRITER_METADATA>" + id + "</WRITER_METADATA>", Code::kInvalidXmlDocument},
      {"no identification", head + "</WRITER_METADATA>", Code::kInvalidXmlDocument},
      {"bad guid", head + "<IDENTIFICATION writerId=\"x\" instanceId=\"y\"/></WRITER_METADATA>",
       Code::kInvalidXmlDocument},
      {"bad flag",
       head + id +
           "<BACKUP_LOCATIONS><FILE_GROUP componentName=\"c\" "
           "selectable=\"maybe\"/></BACKUP_LOCATIONS></WRITER_METADATA>",
       Code::kInvalidXmlDocument},
      {"bad number",
       head + id +
           "<BACKUP_LOCATIONS><FILE_GROUP componentName=\"c\" "
           "componentFlags=\"-1\"/></BACKUP_LOCATIONS></WRITER_METADATA>",
       Code::kInvalidXmlDocument},
      {"nameless component", head + id + "<BACKUP_LOCATIONS><FILE_GROUP/></BACKUP_LOCATIONS></WRITER_METADATA>",
       Code::kInvalidXmlDocument},
      {"bad method", head + id + "<RESTORE_METHOD method=\"MAGIC\"/></WRITER_METADATA>", Code::kInvalidXmlDocument},
  };
  for (const Refused& c : cases) {
    const auto parsed = ParseWriterMetadata(c.xml);
    EXPECT_EQ(CodeOf(parsed.status()), c.code) << c.name << ": " << parsed.status();
    EXPECT_EQ(base::ReasonOf(parsed.status()), "VSS_DOCUMENT_INVALID") << c.name;
  }
  EXPECT_FALSE(ParseBackupComponents(Golden("writer_metadata.xml")).ok());
  EXPECT_FALSE(ParseWriterMetadata(Golden("backup_components.xml")).ok());
}

TEST(Documents, RefuseMetadataThatIsNoBase64) {
  std::string xml = Golden("backup_components.xml");
  const size_t at = xml.find("metadata=\"") + 10;
  xml[at] = '!';
  EXPECT_EQ(CodeOf(ParseBackupComponents(xml).status()), Code::kInvalidXmlDocument);
}

}  // namespace
}  // namespace umbra::vss

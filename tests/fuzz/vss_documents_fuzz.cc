// Target: the two VSS documents. What is accepted prints, and what was printed is accepted again with the same content.
#include "agent/vss/backup_components.h"
#include "agent/vss/writer_metadata.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {

std::vector<std::string> Seeds() {
  return {
      R"(0<WRITER_METADATA xmlns="x-schema:#VssWriterMetadataInfo" version="1.2"><IDENTIFICATION writerId="66841cd4-6ded-4f4b-8f17-fd23f8ddc3de" instanceId="7b0f4c7e-2f6a-4f5e-9a77-3d5a1f0c9e21" friendlyName="Microsoft Hyper-V VSS Writer" usage="USER_DATA" dataSource="OTHER" majorVersion="0" minorVersion="0"/><RESTORE_METHOD method="RESTORE_IF_CAN_BE_REPLACED" writerRestore="always" rebootRequired="no"/><BACKUP_LOCATIONS><FILE_GROUP componentName="4E5B3C1A-90D2-4C5E-8F17-0A6B7C8D9E0F" caption="x\mail01" restoreMetadata="no" notifyOnBackupComplete="no" selectable="yes" selectableForRestore="no" componentFlags="1"><FILE_LIST path="D:\VM" filespec="*" recursive="yes" filespecBackupType="3855"/></FILE_GROUP></BACKUP_LOCATIONS></WRITER_METADATA>)",
      R"(1<BACKUP_COMPONENTS xmlns="x-schema:#VssComponentMetadata" version="1.2" bootableSystemStateBackup="no" selectComponents="yes" backupType="full" partialFileSupport="no" snapshotSetId="0d9c2d43-7a53-4b9e-8b34-1c5f2be4a6d0"><WRITER_COMPONENTS instanceId="7b0f4c7e-2f6a-4f5e-9a77-3d5a1f0c9e21" writerId="66841cd4-6ded-4f4b-8f17-fd23f8ddc3de" backupSchema="0"><COMPONENT componentName="4E5B3C1A-90D2-4C5E-8F17-0A6B7C8D9E0F" componentType="filegroup"/></WRITER_COMPONENTS></BACKUP_COMPONENTS>)",
  };
}

void TestOneInput(std::string_view input) {
  if (input.empty()) return;
  if (input[0] % 2 == 0) {
    const auto metadata = vss::ParseWriterMetadata(input.substr(1));
    if (!metadata.ok()) return;
    const auto again = vss::ParseWriterMetadata(vss::PrintWriterMetadata(*metadata));
    Require(again.ok() && *again == *metadata, "a writer metadata document survives a round trip");
  } else {
    const auto components = vss::ParseBackupComponents(input.substr(1));
    if (!components.ok()) return;
    const std::string printed = vss::PrintBackupComponents(*components);
    const auto again = vss::ParseBackupComponents(printed);
    Require(again.ok() && vss::PrintBackupComponents(*again) == printed, "a backup components document survives a round trip");
  }
}

}  // namespace umbra::fuzz

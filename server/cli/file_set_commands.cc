// umbra file-set list | show, umbra recovery-point files
#include <fmt/format.h>

#include "server/cli/context.h"
#include "server/cli/file_sets.h"
#include "server/cli/resolve.h"
#include "storage/base/bytes.h"

namespace umbra::cli {
namespace {

std::string HostOf(const v1::FileSet& set) { return set.name().substr(0, set.name().find("/fileSets/")); }

std::string FoldersText(const v1::FileSet& set) {
  std::vector<std::string> paths;
  for (const auto& folder : set.folders()) paths.push_back(folder.path());
  return JoinText(paths, ", ");
}

void ListFileSets(Context& context, const std::string& host) {
  v1::ListFileSetsRequest request;
  request.set_parent(host.empty() ? "hosts/-" : ResolveHost(context.client(), host).name());
  Table table({"FILE SET", "HOST", "FREEZE", "FOLDERS", "LAST POINT", "WHAT"});
  ForEach(*context.client().file_sets, &v1::FileSetService::Stub::ListFileSets, request,
          &v1::ListFileSetsResponse::file_sets, 0, [&](const v1::FileSet& set) {
            if (context.json) return context.output().Json(set);
            table.Add({LastSegment(set.name()), ShortId(HostOf(set)), set.has_freeze_hook() ? "hook" : "-", FoldersText(set),
                       set.last_recovery_point().empty() ? "-" : ShortId(set.last_recovery_point()), set.display_name()});
          });
  if (!context.json) table.Print();
}

void ShowFileSet(Context& context, const std::string& text) {
  const v1::FileSet set = ResolveFileSet(context.client(), text, "");
  if (context.json) return context.output().Json(set);
  std::vector<std::pair<std::string, std::string>> fields = {
      {"Name", LastSegment(set.name())},
      {"What", set.display_name()},
      {"Resource", set.name()},
      {"Freeze", set.has_freeze_hook() ? "a hook makes the service stand still" : "no hook: the files are as they happen to be"}};
  for (const auto& folder : set.folders()) {
    std::string details = folder.filespec() == "*" ? "" : "files " + folder.filespec();
    if (!folder.recursive()) details += std::string(details.empty() ? "" : ", ") + "without sub-folders";
    const std::vector<std::string> excludes(folder.excludes().begin(), folder.excludes().end());
    if (!excludes.empty()) details += (details.empty() ? "without " : ", without ") + JoinText(excludes, ", ");
    fields.emplace_back("Folder", details.empty() ? folder.path() : fmt::format("{} ({})", folder.path(), details));
  }
  fields.emplace_back("Last recovery point", LastSegment(set.last_recovery_point()));
  fields.emplace_back("Reported", TimeText(set.has_update_time(), set.update_time()));
  context.output().Fields(fields);
}

std::string ModeText(const v1::RecoveryPointFile& file) {
  std::string text = "-rwxrwxrwx";
  if (file.type() == v1::RecoveryPointFile::TYPE_FOLDER) text[0] = 'd';
  if (file.type() == v1::RecoveryPointFile::TYPE_SYMLINK) return "lrwxrwxrwx";
  if (file.type() == v1::RecoveryPointFile::TYPE_HARD_LINK) return "hard link ";
  for (size_t i = 0; i < 9; ++i) {
    if ((file.mode() & (0400u >> i)) == 0) text[i + 1] = '-';
  }
  if ((file.mode() & 04000u) != 0) text[3] = text[3] == 'x' ? 's' : 'S';
  if ((file.mode() & 02000u) != 0) text[6] = text[6] == 'x' ? 's' : 'S';
  if ((file.mode() & 01000u) != 0) text[9] = text[9] == 'x' ? 't' : 'T';
  return text;
}

// A name may hold what a terminal obeys.
std::string Printable(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    safe += control ? fmt::format("\\x{:02x}", static_cast<unsigned char>(c)) : std::string(1, c);
  }
  return safe;
}

}  // namespace

void ListPointFiles(Context& context, const std::string& point, const std::string& file_set, int limit) {
  v1::ListRecoveryPointFilesRequest request;
  request.set_parent(ResolveRecoveryPoint(context.client(), point, "", file_set).name());
  request.set_page_size(1000);
  ForEach(*context.client().points, &v1::RecoveryPointService::Stub::ListRecoveryPointFiles, request,
          &v1::ListRecoveryPointFilesResponse::files, limit, [&](const v1::RecoveryPointFile& file) {
            if (context.json) return context.output().Json(file);
            const std::string target = file.link_target().empty() ? "" : " -> " + Printable(file.link_target());
            fmt::print("{} {:>6} {:>6} {:>12} {} {}{}\n", ModeText(file), file.uid(), file.gid(), file.size_bytes(),
                       TimeText(file.has_modify_time(), file.modify_time()), Printable(file.path()), target);
          });
}

void AddFileSetCommands(CLI::App& app, Context& context) {
  CLI::App* sets = app.add_subcommand("file-set", "Services of hosts whose folders can be backed up");
  sets->require_subcommand(1);
  static std::string host;
  CLI::App* list = sets->add_subcommand("list", "Lists file sets; they are made in each host's umbra-agent.toml");
  list->add_option("--host", host, "Only this host (name or id)");
  list->callback([&] { ListFileSets(context, host); });

  static std::string name;
  CLI::App* show = sets->add_subcommand("show", "Shows a file set");
  show->add_option("FILE-SET", name, "Name, or resource name")->required();
  show->footer("Example:\n  umbra file-set show shop");
  show->callback([&] { ShowFileSet(context, name); });
}

}  // namespace umbra::cli

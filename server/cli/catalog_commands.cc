// umbra catalog show | backup | check
#include <fmt/format.h>

#include "server/cli/context.h"
#include "storage/base/bytes.h"

namespace umbra::cli {
namespace {

std::string Size(int64_t bytes) {
  return base::FormatSize(static_cast<uint64_t>(bytes));
}

void Print(Context& context, const v1::Catalog& catalog) {
  if (context.json) return context.output().Json(catalog);
  context.output().Fields({{"Location", catalog.location()},
                           {"Size", Size(catalog.size_bytes())},
                           {"Schema", std::to_string(catalog.schema_version())},
                           {"Newest event", std::to_string(catalog.newest_event())}});
  Table table({"REPOSITORY", "COPY", "MADE", "STORED", "NOTE"});
  for (const v1::CatalogCopyState& state : catalog.repositories()) {
    const std::string repository = LastSegment(state.repository());
    if (state.copies().empty()) table.Add({repository, "-", "-", "-", "no copy yet"});
    for (const v1::CatalogCopy& copy : state.copies()) {
      table.Add({repository, copy.id(), TimeText(copy.has_create_time(), copy.create_time()), Size(copy.stored_bytes()),
                 copy.damaged() ? "damaged" : ""});
    }
  }
  table.Print();
}

// Copies that couldn't be made are a failure, also when others were.
void FailWhenOneFailed(Context& context, const v1::Catalog& catalog) {
  for (const v1::CatalogCopyState& state : catalog.repositories()) {
    if (state.error_reason().empty()) continue;
    const std::string message =
        fmt::format("{}: the catalog can't be copied: {}", LastSegment(state.repository()), state.error_message());
    if (context.json) throw ExitError{kExitFailed, "", ""};  // the object says it
    throw ExitError{kExitFailed, message, state.error_reason()};
  }
}

void Show(Context& context) {
  const v1::Catalog catalog =
      Call(*context.client().catalog, &v1::CatalogService::Stub::GetCatalog, v1::GetCatalogRequest());
  Print(context, catalog);
  if (context.json) return;
  for (const v1::CatalogCopyState& state : catalog.repositories()) {
    if (state.error_reason().empty()) continue;
    fmt::print("{}: the last copy failed: {} [{}]\n", LastSegment(state.repository()), state.error_message(),
               state.error_reason());
  }
}

void Backup(Context& context) {
  const v1::BackUpCatalogResponse answer =
      Call(*context.client().catalog, &v1::CatalogService::Stub::BackUpCatalog, v1::BackUpCatalogRequest());
  Print(context, answer.catalog());
  FailWhenOneFailed(context, answer.catalog());
}

void Check(Context& context) {
  const v1::CheckCatalogResponse answer =
      Call(*context.client().catalog, &v1::CatalogService::Stub::CheckCatalog, v1::CheckCatalogRequest());
  if (context.json) return context.output().Json(answer);
  fmt::print("sound: {} checked\n", Size(answer.size_bytes()));
}

}  // namespace

void AddCatalogCommands(CLI::App& app, Context& context) {
  CLI::App* catalog = app.add_subcommand("catalog", "The daemon's own memory, and its copies in the repositories");
  catalog->require_subcommand(1);
  catalog->add_subcommand("show", "Shows where it is and which copies there are")->callback([&] { Show(context); });
  CLI::App* backup = catalog->add_subcommand("backup", "Copies it to every repository now");
  backup->footer(
      "umbrad does this by itself, see [catalog] in umbrad.toml. Back from a copy:\n"
      "  umbrad --config FILE restore-catalog --repository DIR --key-file FILE");
  backup->callback([&] { Backup(context); });
  catalog->add_subcommand("check", "Reads all of it and checks its structure; exit code 7 on damage")->callback([&] {
    Check(context);
  });
}

}  // namespace umbra::cli

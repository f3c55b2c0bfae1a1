// Build step: api_description DESCRIPTOR_SET VERSION OUT_DIR FILE.proto...
// writes OUT_DIR/api_description.cc (the definitions of api_description.h) and OUT_DIR/openapi.json. The descriptor set
// holds everything that the files import, and source information.
#include <fmt/format.h>
#include <google/protobuf/descriptor.pb.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "server/rest/openapi.h"
#include "server/rest/reference_css.h"
#include "storage/base/status.h"

namespace {

namespace pb = google::protobuf;

// No text of ours holds the delimiter; a compiler would say so.
std::string Literal(const std::string& text) {
  return "R\"~umbra~(" + text + ")~umbra~\"";
}

std::string SourceOf(const umbra::rest::ApiDescription& api) {
  std::string source = "#include \"server/rest/api_description.h\"\n\n";
  for (const auto& [message, header] : api.messages) source += fmt::format("#include \"{}\"\n", header);
  source += "\nnamespace umbra::rest {\nnamespace {\n\n";
  source += "constexpr ReasonAction kReasons[] = {\n";
  for (const auto& reason : api.reasons)
    source += fmt::format("  {{\"{}\", {}}},\n", reason.name, Literal(reason.comment));
  source += "};\n\nconstexpr std::string_view kServices[] = {\n";
  for (const auto& name : api.services) source += fmt::format("  \"{}\",\n", name);
  source +=
      "};\n\n// A program knows only the services whose files are linked into it; these are.\nbool IsLinked() {\n  "
      "bool linked = true;\n";
  for (const auto& [message, header] : api.messages) {
    source += fmt::format("  linked = linked && v1::{}::descriptor() != nullptr;\n", message);
  }
  source += "  return linked;\n}\n\n}  // namespace\n\n";
  source += "std::span<const ReasonAction> ReasonActions() { return kReasons; }\n";
  source +=
      "std::span<const std::string_view> ServiceNames() {\n"
      "  static const bool linked = IsLinked();\n  return std::span(kServices, linked ? sizeof(kServices) / "
      "sizeof(kServices[0]) : 0);\n}\n";
  source += "std::string_view OpenApiJson() { return " + Literal(api.openapi_json) + "; }\n";
  source += "std::string_view ReferenceHtml() { return " + Literal(api.reference_html) + "; }\n";
  source += "std::string_view ReferenceCss() { return " + Literal(umbra::rest::kReferenceCss) + "; }\n";
  return source + "\n}  // namespace umbra::rest\n";
}

int Fail(const std::string& what) {
  fmt::print(stderr, "api_description: {}\n", what);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return Fail("usage: api_description DESCRIPTOR_SET VERSION OUT_DIR FILE.proto...");
  std::ifstream in(argv[1], std::ios::binary);
  pb::FileDescriptorSet set;
  if (!set.ParseFromIstream(&in)) return Fail(fmt::format("can't read {}", argv[1]));
  pb::DescriptorPool pool;
  for (const auto& file : set.file()) {
    if (pool.BuildFile(file) == nullptr) return Fail(fmt::format("{} doesn't fit the others", file.name()));
  }
  std::vector<const pb::FileDescriptor*> files;
  for (int i = 4; i < argc; ++i) {
    files.push_back(pool.FindFileByName(argv[i]));
    if (files.back() == nullptr) return Fail(fmt::format("{} isn't in the set", argv[i]));
  }
  const auto api = umbra::rest::DescribeApi(pool, files, argv[2]);
  if (!api.ok()) return Fail(umbra::base::Describe(api.status()));
  const std::string folder = argv[3];
  std::ofstream(folder + "/openapi.json", std::ios::binary) << api->openapi_json;
  std::ofstream source(folder + "/api_description.cc", std::ios::binary);
  source << SourceOf(*api);
  source.close();
  return source.good() ? 0 : Fail("can't write");
}

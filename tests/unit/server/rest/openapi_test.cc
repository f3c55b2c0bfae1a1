// Proves that the description of the API is the one that was looked at: a change of the protos shows as a change of
// tests/golden/openapi.json. UPDATE_GOLDEN=1 writes it anew; read the difference.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "server/rest/api_description.h"

namespace umbra::rest {
namespace {

TEST(OpenApi, IsTheGoldenOne) {
  const std::string now(OpenApiJson());
  if (getenv("UPDATE_GOLDEN") != nullptr) std::ofstream(UMBRA_GOLDEN_OPENAPI) << now;
  std::ifstream in(UMBRA_GOLDEN_OPENAPI);
  const std::string golden((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  EXPECT_TRUE(golden == now)
      << "tests/golden/openapi.json isn't what the protos say: UPDATE_GOLDEN=1, and read the difference";
}

void CheckReferences(const nlohmann::json& root, const nlohmann::json& at) {
  if (at.is_object() && at.contains("$ref")) {
    const std::string reference = at["$ref"];
    EXPECT_TRUE(root.contains(nlohmann::json::json_pointer(reference.substr(1)))) << reference;
  }
  if (!at.is_structured()) return;
  for (const auto& item : at) CheckReferences(root, item);
}

TEST(OpenApi, HangsTogether) {
  const auto openapi = nlohmann::json::parse(OpenApiJson());
  CheckReferences(openapi, openapi);
  std::set<std::string> ids;
  for (const auto& [path, item] : openapi["paths"].items()) {
    for (const auto& [verb, operation] : item.items()) {
      EXPECT_TRUE(ids.insert(operation["operationId"]).second) << operation["operationId"];
      EXPECT_FALSE(operation["summary"].get<std::string>().empty()) << path;
      size_t in_path = 0;
      std::set<std::string> names;
      for (const auto& parameter : operation.value("parameters", nlohmann::json::array())) {
        in_path += parameter["in"] == "path" ? 1 : 0;
        EXPECT_TRUE(names.insert(parameter["name"]).second) << path << " " << parameter["name"];
      }
      EXPECT_EQ(in_path, static_cast<size_t>(std::count(path.begin(), path.end(), '{'))) << path;
    }
  }
}

TEST(OpenApi, EveryReasonSaysWhatToDo) {
  EXPECT_GT(ReasonActions().size(), 100);
  for (const ReasonAction& reason : ReasonActions()) EXPECT_FALSE(reason.action.empty()) << reason.reason;
}

}  // namespace
}  // namespace umbra::rest

// Target: what a stranger can send to the HTTPS port once it is a request: method, target and body become a message, or
// an error.
#include "server/rest/transcoder.h"

#include <google/protobuf/descriptor.h>

#include "server/rest/api_description.h"
#include "server/rest/conventions.h"
#include "server/rest/json_scan.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {
namespace {

const rest::RouteTable& Routes() {
  static const auto* const table = [] {
    auto made = rest::RouteTable::Make(*google::protobuf::DescriptorPool::generated_pool(), rest::ServiceNames());
    Require(made.ok(), "the annotations make routes");
    return new rest::RouteTable(*std::move(made));
  }();
  return *table;
}

// The text up to `end`, which is taken off `rest` with it.
std::string_view Take(std::string_view& rest, char end) {
  const size_t at = rest.find(end);
  const std::string_view taken = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 1);
  return taken;
}

void CheckMessage(const rest::Route& route, const rest::CallInput& input) {
  const auto message = rest::MakeRequest(route, input);
  if (!message.ok()) return;
  const auto json = rest::ToJson(**message);
  Require(json.ok(), "what was accepted can be printed");
  const auto again = rest::NewMessage(*route.method->input_type());
  Require(again->ParseFromString((*message)->SerializeAsString()), "what was accepted can be sent");
}

}  // namespace

std::vector<std::string> Seeds() {
  return {
      "GET /v1/hosts/h1/virtualMachines/u\n",
      "GET /v1/events?pageSize=5&resource=a%20b\n",
      "PATCH /v1/policies/p?updateMask=a,b\n{\"description\":\"x\",\"retention\":{\"daily\":3,\"within\":\"3.5s\"}}",
      "POST /v1/jobs\n{\"backup\":{\"virtualMachines\":[\"a\"],\"freezeTimeout\":\"10s\"}}",
      "POST /v1/jobs/j:cancel\n{}",
      "GET /v1/policies/p:previewRetention?retention.daily=3&retention.within=5s\n",
      "GET /v1/coverage?filter=FILTER_AT_RISK\n",
      "DELETE /v1/repositories/main/keys/k\n",
      "GET /v1/events:watch?afterSequence=-1\n"};
}

// METHOD SPACE TARGET NEWLINE BODY
void TestOneInput(std::string_view input) {
  std::string_view rest = input;
  const std::string_view method = Take(rest, ' ');
  std::string_view target = Take(rest, '\n');
  const std::string_view path = Take(target, '?');
  (void)rest::ScanJson(rest);
  (void)rest::ParseRange(rest);
  (void)rest::CookieValue(rest, "session");
  (void)rest::AcceptsGzip(rest);
  rest::FoundRoute found = Routes().Find(method, path);
  if (found.route == nullptr) return;
  for (const rest::PathValue& value : found.values) {
    for (const char c : value.value) Require(static_cast<unsigned char>(c) >= ' ', "names hold no control characters");
  }
  rest::CallInput call{std::move(found.values), target, rest, {}, {}};
  CheckMessage(*found.route, call);
  call.if_match = rest::EtagOfIfMatch(rest.substr(0, 50));
  call.last_event_id = std::string(rest.substr(0, 20));
  CheckMessage(*found.route, call);
}

}  // namespace umbra::fuzz

// Proves the way from HTTP to messages and back on the real protos: every annotation makes a route, path, query and
// body land in their fields, and nothing that a caller may send holds a type that protobuf's JSON parser can be stalled
// with.
#include "server/rest/transcoder.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <set>

#include "server/rest/api_description.h"
#include "storage/base/status.h"
#include "umbra/v1/event.pb.h"
#include "umbra/v1/job.pb.h"
#include "umbra/v1/policy.pb.h"

namespace umbra::rest {
namespace {

namespace pb = google::protobuf;

const RouteTable& Routes() {
  static const RouteTable* const table = [] {
    auto made = RouteTable::Make(*pb::DescriptorPool::generated_pool(), ServiceNames());
    EXPECT_TRUE(made.ok()) << base::Describe(made.status());
    return new RouteTable(*std::move(made));
  }();
  return *table;
}

template <typename Message>
Message Request(const char* verb, const char* path, CallInput input) {
  FoundRoute found = Routes().Find(verb, path);
  EXPECT_NE(found.route, nullptr) << path;
  if (found.route == nullptr) return {};
  input.path_values = found.values;
  const auto made = MakeRequest(*found.route, input);
  EXPECT_TRUE(made.ok()) << base::Describe(made.status());
  Message message;
  if (made.ok()) message.CopyFrom(**made);
  return message;
}

std::string Refusal(const char* verb, const char* path, CallInput input) {
  FoundRoute found = Routes().Find(verb, path);
  EXPECT_NE(found.route, nullptr) << path;
  if (found.route == nullptr) return {};
  input.path_values = found.values;
  const auto made = MakeRequest(*found.route, input);
  if (made.ok()) return "OK";
  EXPECT_EQ(base::ReasonOf(made.status()), "INVALID_REQUEST");
  return base::MessageOf(made.status());
}

TEST(Routes, EveryCallHasOneAndFindsItself) {
  size_t methods = 0;
  for (const std::string_view name : ServiceNames()) {
    methods +=
        static_cast<size_t>(pb::DescriptorPool::generated_pool()->FindServiceByName(std::string(name))->method_count());
  }
  EXPECT_EQ(Routes().all().size(), methods);
  for (const Route& route : Routes().all()) {
    std::string path;
    for (const std::string& segment : route.path.segments()) path += "/" + (segment == "*" ? "x" : segment);
    if (!route.path.verb().empty()) path += ":" + route.path.verb();
    EXPECT_EQ(Routes().Find(route.verb, path).route, &route) << route.verb << " " << path;
  }
}

TEST(Routes, OtherMethodsAreNamed) {
  const FoundRoute found = Routes().Find("PUT", "/v1/policies/p");
  EXPECT_EQ(found.route, nullptr);
  EXPECT_EQ(found.allowed, (std::set<std::string>{"DELETE", "GET", "PATCH"}));
  EXPECT_NE(Routes().Find("HEAD", "/v1/jobs").route, nullptr);
  EXPECT_TRUE(Routes().Find("GET", "/v1/none").allowed.empty());
}

void Collect(const pb::Descriptor& type, std::set<std::string>& seen) {
  if (!seen.insert(type.full_name()).second) return;
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->message_type() != nullptr) Collect(*type.field(i)->message_type(), seen);
  }
}

TEST(Routes, NothingThatJsonCanNestFreely) {
  std::set<std::string> seen;
  for (const Route& route : Routes().all()) Collect(*route.method->input_type(), seen);
  for (const char* name : {"Struct", "Value", "ListValue", "Any"}) {
    EXPECT_FALSE(seen.contains(std::string("google.protobuf.") + name)) << name;
  }
}

TEST(MakeRequest, QueryGoesToFieldsByEitherName) {
  const auto request =
      Request<v1::ListEventsRequest>("GET", "/v1/events", {.query = "pageSize=7&resource=jobs%2Fj1&page_token=t"});
  EXPECT_EQ(request.page_size(), 7);
  EXPECT_EQ(request.resource(), "jobs/j1");
  EXPECT_EQ(request.page_token(), "t");
  const auto coverage = Request<v1::ListCoverageRequest>("GET", "/v1/coverage", {.query = "filter=FILTER_AT_RISK"});
  EXPECT_EQ(coverage.filter(), v1::ListCoverageRequest::FILTER_AT_RISK);
  EXPECT_EQ(Request<v1::ListCoverageRequest>("GET", "/v1/coverage", {.query = "filter=1"}).filter(),
            v1::ListCoverageRequest::FILTER_UNPROTECTED);
}

TEST(MakeRequest, QueryReachesIntoMessages) {
  const auto request = Request<v1::PreviewRetentionRequest>("GET", "/v1/policies/p:previewRetention",
                                                            {.query = "retention.daily=3&retention.within=3600s"});
  EXPECT_EQ(request.name(), "policies/p");
  EXPECT_EQ(request.retention().daily(), 3);
  EXPECT_EQ(request.retention().within().seconds(), 3600);
}

TEST(MakeRequest, BodyIsAFieldOrTheWhole) {
  const auto update =
      Request<v1::UpdatePolicyRequest>("PATCH", "/v1/policies/p",
                                       {.query = "updateMask=description,schedules",
                                        .body = R"({"name":"policies/other","description":"d","schedules":["s"]})"});
  EXPECT_EQ(update.policy().name(), "policies/p");  // the path says it
  EXPECT_EQ(update.policy().description(), "d");
  EXPECT_THAT(update.update_mask().paths(), ::testing::ElementsAre("description", "schedules"));
  EXPECT_EQ(Request<v1::CancelJobRequest>("POST", "/v1/jobs/j:cancel", {.body = "{}"}).name(), "jobs/j");
  EXPECT_EQ(Request<v1::CancelJobRequest>("POST", "/v1/jobs/j:cancel", {}).name(), "jobs/j");
}

TEST(MakeRequest, RefusesNamingTheField) {
  EXPECT_EQ(Refusal("GET", "/v1/events", {.query = "nope=1"}), "nope: no such field");
  EXPECT_EQ(Refusal("GET", "/v1/events", {.query = "pageSize=x"}), "pageSize: 'x' is no value of this field");
  EXPECT_EQ(Refusal("GET", "/v1/events", {.query = "pageSize=99999999999"}),
            "pageSize: '99999999999' is no value of this field");
  EXPECT_EQ(Refusal("GET", "/v1/events", {.query = "pageSize.x=1"}), "pageSize.x: no such field");
  EXPECT_EQ(Refusal("GET", "/v1/events", {.query = "resource=%ff"}), "resource: not UTF-8");
  EXPECT_EQ(Refusal("GET", "/v1/events", {.query = "%ff=1"}), "query: no such field");
  EXPECT_EQ(Refusal("GET", "/v1/coverage", {.query = "filter=NOPE"}), "filter: 'NOPE' is no value of this field");
  EXPECT_EQ(Refusal("GET", "/v1/events", {.body = "{}"}), "body: GET /v1/events takes none");
  EXPECT_EQ(Refusal("POST", "/v1/jobs/j:cancel", {.query = "name=x", .body = "{}"}),
            "query: everything of this request goes into its body");
  EXPECT_TRUE(Refusal("POST", "/v1/policies", {.body = R"({"nope":1})"}).starts_with("body: "));
  EXPECT_TRUE(Refusal("POST", "/v1/policies", {.body = std::string(100'000, '[')}).ends_with("nested too deep"));
}

TEST(MakeRequest, ConditionsGoIntoEtags) {
  const auto update = Request<v1::UpdatePolicyRequest>("PATCH", "/v1/policies/p", {.body = "{}", .if_match = "7"});
  EXPECT_EQ(update.policy().etag(), "7");
  EXPECT_EQ(Request<v1::DeletePolicyRequest>("DELETE", "/v1/policies/p", {.if_match = "7"}).etag(), "7");
  EXPECT_EQ(Refusal("GET", "/v1/jobs", {.if_match = "7"}), "If-Match: GET /v1/jobs can't be made conditional");
}

TEST(MakeRequest, LastEventIdResumes) {
  const auto watch = [](const char* query, const char* id) {
    return Request<v1::WatchEventsRequest>("GET", "/v1/events:watch", {.query = query, .last_event_id = id})
        .after_sequence();
  };
  EXPECT_EQ(watch("", "41"), 41);
  EXPECT_EQ(watch("afterSequence=-1", "41"), 41);  // what was seen counts more than where it once began
  EXPECT_EQ(watch("afterSequence=-1", "-5"), -1);
  EXPECT_EQ(watch("afterSequence=3", "x"), 3);
  EXPECT_EQ(Request<v1::WatchJobRequest>("GET", "/v1/jobs/j:watch", {.last_event_id = "5"}).name(), "jobs/j");
}

TEST(ToJson, PrintsZeroesNamesAndTexts) {
  v1::Event event;
  event.set_sequence(9007199254740993);
  event.set_severity(v1::Event::SEVERITY_WARNING);
  EXPECT_EQ(*ToJson(event),
            R"({"sequence":"9007199254740993","type":"","resource":"","severity":"SEVERITY_WARNING","message":""})");
  EXPECT_EQ(SequenceOf(event), 9007199254740993);
  EXPECT_EQ(SequenceOf(v1::Event()), std::nullopt);
  EXPECT_EQ(SequenceOf(v1::Job()), std::nullopt);
  v1::Job job;
  job.set_etag("4");
  EXPECT_EQ(TextField(job, "etag"), "4");
  EXPECT_EQ(TextField(event, "etag"), "");
}

}  // namespace
}  // namespace umbra::rest

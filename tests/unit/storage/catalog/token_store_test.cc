// Proves that an enrolment token works once, in its time, for the hosts that it was made for, also when two ask at
// once; and that a request_id remembers its first job.
#include <atomic>
#include <thread>
#include <vector>

#include "tests/unit/storage/catalog/fixture.h"

namespace umbra::catalog {
namespace {

class TokenStoreTest : public CatalogTest {
 protected:
  TokenStoreTest() { Add("hash", ""); }

  void Add(const std::string& hash, const std::string& pattern) {
    EXPECT_TRUE(catalog_
                    ->Write([&](Stores& s) {
                      return s.tokens.Insert(
                          {.hash = hash, .host_pattern = pattern, .create_time = At(0), .expire_time = At(100)});
                    })
                    .ok());
  }
  absl::Status Consume(const std::string& hash, const std::string& host = "kvm1", absl::Time now = At(50)) {
    return catalog_->Write([&](Stores& s) { return s.tokens.Consume(hash, host, now); });
  }
};

TEST_F(TokenStoreTest, WorksOnce) {
  EXPECT_TRUE(Consume("hash").ok());
  const absl::Status again = Consume("hash");
  EXPECT_EQ(again.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(base::ReasonOf(again), "ENROLMENT_TOKEN_INVALID");
  const auto token = catalog_->Read([](const Stores& s) { return s.tokens.Get("hash"); });
  EXPECT_EQ(token->used_time, At(50));
  EXPECT_EQ(token->used_by, "kvm1");
}

TEST_F(TokenStoreTest, UnknownAndExpiredAreRefusedAlike) {
  const absl::Status unknown = Consume("guess");
  const absl::Status expired = Consume("hash", "kvm1", At(100));
  EXPECT_EQ(base::ReasonOf(unknown), "ENROLMENT_TOKEN_INVALID");
  EXPECT_EQ(unknown, expired);
  EXPECT_TRUE(Consume("hash", "kvm1", At(99)).ok());
}

TEST_F(TokenStoreTest, TheHostMustMatchThePattern) {
  Add("rack", "kvm[0-9]*.rack1");
  const absl::Status status = Consume("rack", "web1.rack1");
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(base::ReasonOf(status), "ENROLMENT_HOST_MISMATCH");
  EXPECT_TRUE(Consume("rack", "kvm12.rack1").ok());
}

TEST_F(TokenStoreTest, AnEnrolmentThatFailsGivesTheTokenBack) {
  EXPECT_FALSE(catalog_
                   ->Write([](Stores& s) -> absl::Status {
                     RETURN_IF_ERROR(s.tokens.Consume("hash", "kvm1", At(1)));
                     return absl::InternalError("no certificate");
                   })
                   .ok());
  EXPECT_TRUE(Consume("hash").ok());
}

TEST_F(TokenStoreTest, OfManyAtOnceOneWins) {
  std::atomic<int> winners = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] { winners += Consume("hash", fmt::format("kvm{}", i)).ok(); });
  }
  threads.clear();
  EXPECT_EQ(winners, 1);
}

TEST_F(TokenStoreTest, PruneForgetsTheExpired) {
  ASSERT_TRUE(catalog_->Write([](Stores& s) { return s.tokens.Prune(At(100)); }).ok());
  EXPECT_TRUE(catalog_->Read([](const Stores& s) { return s.tokens.Get("hash"); }).ok());
  ASSERT_TRUE(catalog_->Write([](Stores& s) { return s.tokens.Prune(At(101)); }).ok());
  EXPECT_TRUE(absl::IsNotFound(catalog_->Read([](const Stores& s) { return s.tokens.Get("hash"); }).status()));
}

TEST_F(TokenStoreTest, ARequestIdRemembersItsJobUntilPruned) {
  const Job job{.id = JobId("j1"), .spec = VerifySpec{.repository = RepositoryId("main")}, .create_time = At(0)};
  const auto insert = [&] {
    return catalog_->Write([&](Stores& s) { return s.requests.Insert({"r1", "hash", job.id, At(10)}); });
  };
  EXPECT_EQ(base::ReasonOf(insert()), "CATALOG_CONSTRAINT");  // no such job
  ASSERT_TRUE(catalog_->Write([&](Stores& s) { return s.jobs.Insert(job); }).ok());
  ASSERT_TRUE(insert().ok());
  EXPECT_TRUE(absl::IsAlreadyExists(insert()));
  const auto find = [&] { return *catalog_->Read([](const Stores& s) { return s.requests.Find("r1"); }); };
  ASSERT_TRUE(find().has_value());
  EXPECT_EQ(find()->job.value, "j1");
  EXPECT_EQ(find()->request_hash, "hash");
  ASSERT_TRUE(catalog_->Write([](Stores& s) { return s.requests.Prune(At(11)); }).ok());
  EXPECT_FALSE(find().has_value());
}

}  // namespace
}  // namespace umbra::catalog

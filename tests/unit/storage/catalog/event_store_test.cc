// Proves that events are numbered from 1 without gaps, whatever is rolled back or pruned and whoever writes, and that a
// reader who continues after its last number misses and repeats nothing.
#include <thread>
#include <vector>

#include "tests/unit/storage/catalog/fixture.h"

namespace umbra::catalog {
namespace {

Event MakeEvent(const std::string& resource = "jobs/j1", absl::Time time = At(0)) {
  return {.time = time, .type = "TEST", .resource = resource, .severity = Severity::kWarning, .message = "hello"};
}

class EventStoreTest : public CatalogTest {
 protected:
  int64_t Append(const Event& event = MakeEvent()) {
    return *catalog_->Write([&](Stores& s) { return s.events.Append(event); });
  }
  std::vector<int64_t> Sequences(const std::string& resource = "", int64_t after = 0) {
    std::vector<int64_t> result;
    ListOptions<int64_t> options{.page_size = 3, .after_key = after};
    do {
      const auto page = catalog_->Read([&](const Stores& s) { return s.events.List(resource, options); });
      for (const Event& event : page->items) result.push_back(event.sequence);
      options.after_key = page->next_key;
    } while (options.after_key.has_value());
    return result;
  }
};

TEST_F(EventStoreTest, NumbersGoOnAfterARollbackAndAReopen) {
  EXPECT_EQ(Append(), 1);
  EXPECT_FALSE(catalog_
                   ->Write([](Stores& s) -> absl::Status {
                     RETURN_IF_ERROR(s.events.Append(MakeEvent()).status());
                     return absl::InternalError("no");
                   })
                   .ok());
  EXPECT_EQ(Append(), 2);
  Reopen();
  EXPECT_EQ(Append(), 3);
}

TEST_F(EventStoreTest, AnEventRoundTrips) {
  Append();
  const Event event = catalog_->Read([](const Stores& s) { return s.events.List("", {}); })->items.at(0);
  EXPECT_EQ(event.time, At(0));
  EXPECT_EQ(event.type, "TEST");
  EXPECT_EQ(event.resource, "jobs/j1");
  EXPECT_EQ(event.severity, Severity::kWarning);
  EXPECT_EQ(event.message, "hello");
}

TEST_F(EventStoreTest, ListsAfterANumberAndByResource) {
  for (const char* resource : {"a", "b", "a", "a", "b", "a", "a"}) Append(MakeEvent(resource));
  EXPECT_THAT(Sequences("", 2), ::testing::ElementsAre(3, 4, 5, 6, 7));
  EXPECT_THAT(Sequences("a"), ::testing::ElementsAre(1, 3, 4, 6, 7));
  EXPECT_THAT(Sequences("c"), ::testing::IsEmpty());
}

TEST_F(EventStoreTest, PruneByAgeAndCountKeepsTheNewest) {
  for (int i = 1; i <= 6; ++i) Append(MakeEvent("a", At(i)));
  const auto prune = [&](int64_t seconds, int64_t keep, int64_t at_once = 100) {
    return *catalog_->Write([&](Stores& s) { return s.events.Prune(At(seconds), keep, at_once); });
  };
  EXPECT_EQ(prune(3, 100, 1), 1);
  EXPECT_THAT(Sequences(), ::testing::ElementsAre(2, 3, 4, 5, 6));
  EXPECT_EQ(prune(3, 100), 1);
  EXPECT_THAT(Sequences(), ::testing::ElementsAre(3, 4, 5, 6));
  EXPECT_EQ(prune(0, 2), 2);
  EXPECT_THAT(Sequences(), ::testing::ElementsAre(5, 6));
  EXPECT_EQ(prune(1000, 0), 1);
  EXPECT_THAT(Sequences(), ::testing::ElementsAre(6));
  EXPECT_EQ(Append(), 7);
}

TEST_F(EventStoreTest, PruneOfAClockThatWasSetBackKeepsWhatIsYoung) {
  for (const int seconds : {1, 50, 51, 40, 41}) Append(MakeEvent("a", At(seconds)));
  EXPECT_EQ(*catalog_->Write([&](Stores& s) { return s.events.Prune(At(30), 100, 100); }), 1);
  EXPECT_THAT(Sequences(), ::testing::ElementsAre(2, 3, 4, 5));
}

TEST_F(EventStoreTest, ManyWritersLeaveNoGap) {
  constexpr int kThreads = 4;
  constexpr int kEach = 25;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          // Every third transaction is rolled back after it took a number.
          (void)catalog_->Write([&](Stores& s) -> absl::Status {
            RETURN_IF_ERROR(s.events.Append(MakeEvent()).status());
            return (t + i) % 3 == 0 ? absl::AbortedError("") : absl::OkStatus();
          });
        }
      });
    }
  }
  const std::vector<int64_t> sequences = Sequences();
  for (size_t i = 0; i < sequences.size(); ++i) ASSERT_EQ(sequences[i], static_cast<int64_t>(i) + 1);
  EXPECT_GT(sequences.size(), size_t{kThreads * kEach / 2});
}

TEST_F(EventStoreTest, TheListenerHearsOfCommitsOnly) {
  std::vector<int64_t> heard;
  catalog_->SetEventListener([&](int64_t sequence) { heard.push_back(sequence); });
  Append();
  (void)catalog_->Write([](Stores& s) -> absl::Status {
    (void)s.events.Append(MakeEvent());
    return absl::AbortedError("");
  });
  AddHost("h1");
  ASSERT_TRUE(catalog_
                  ->Write([](Stores& s) -> absl::Status {
                    RETURN_IF_ERROR(s.events.Append(MakeEvent()).status());
                    return s.events.Append(MakeEvent()).status();
                  })
                  .ok());
  EXPECT_THAT(heard, ::testing::ElementsAre(1, 3));
}

}  // namespace
}  // namespace umbra::catalog

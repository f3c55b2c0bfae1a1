// Proves the fence between attempts: who may open, read and commit, and that a commit can't be overtaken by an end.
#include "server/dispatch/assignment_table.h"

#include <gtest/gtest.h>

#include "storage/base/status.h"

namespace umbra::dispatch {
namespace {

using catalog::HostId;
using catalog::JobKind;

class AssignmentTableTest : public ::testing::Test {
 protected:
  AssignmentTableTest() {
    table_.SetEndListener([this](const AssignmentKey& key) { ended_.push_back(key); });
    Assignment assignment;
    assignment.key = key_;
    assignment.host = host_;
    assignment.kind = JobKind::kBackup;
    table_.Add(assignment);
  }

  AssignmentTable table_;
  const AssignmentKey key_{catalog::JobId("j1"), 2};
  const HostId host_{"h1"};
  std::vector<AssignmentKey> ended_;
};

TEST_F(AssignmentTableTest, AuthorizesOnlyTheOwnHostKindAndAttempt) {
  EXPECT_TRUE(table_.Authorize(host_, key_, JobKind::kBackup).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(table_.Authorize(HostId("h2"), key_, JobKind::kBackup).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(table_.Authorize(host_, key_, JobKind::kRestore).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(table_.Authorize(host_, {key_.job, 1}, JobKind::kBackup).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(table_.Authorize(host_, {catalog::JobId("j2"), 2}, JobKind::kBackup).status()));
}

TEST_F(AssignmentTableTest, AClosedOneTakesNoNewSessionAndNoCommitButIsAlive) {
  table_.Close(key_);
  EXPECT_TRUE(absl::IsPermissionDenied(table_.Authorize(host_, key_, JobKind::kBackup).status()));
  EXPECT_EQ(base::ReasonOf(table_.BeginCommit(key_)), "CANCELLED");
  EXPECT_TRUE(table_.CheckAlive(key_).ok());
}

TEST_F(AssignmentTableTest, RemoveTellsOnce) {
  EXPECT_TRUE(table_.Remove(key_));
  EXPECT_TRUE(table_.Remove(key_));
  EXPECT_EQ(ended_, std::vector<AssignmentKey>{key_});
  EXPECT_EQ(base::ReasonOf(table_.CheckAlive(key_)), "JOB_ENDED");
  EXPECT_EQ(base::ReasonOf(table_.BeginCommit(key_)), "JOB_ENDED");
}

TEST_F(AssignmentTableTest, ACommitKeepsItAlive) {
  ASSERT_TRUE(table_.BeginCommit(key_).ok());
  EXPECT_FALSE(table_.Remove(key_));
  EXPECT_TRUE(ended_.empty());
  table_.EndCommit(key_);
  EXPECT_TRUE(table_.Remove(key_));
  EXPECT_EQ(ended_.size(), 1u);
}

}  // namespace
}  // namespace umbra::dispatch

// Proves the numeric values that documents and Windows share, the GUID forms, and the mapping between VSS codes and
// Status.
#include "agent/vss/types.h"

#include <gtest/gtest.h>

#include "agent/vss/errors.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

using base::ReasonOf;

TEST(Guid, ReadsEveryFormAndPrintsOne) {
  const auto plain = Guid::Parse("66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain, Guid::Parse("{66841CD4-6DED-4F4B-8F17-FD23F8DDC3DE}"));
  EXPECT_EQ(plain->ToString(), "66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
  EXPECT_EQ(plain->ToUpperString(), "66841CD4-6DED-4F4B-8F17-FD23F8DDC3DE");
  EXPECT_FALSE(plain->is_null());
  EXPECT_TRUE(Guid().is_null());
}

TEST(Guid, RefusesWhatIsNone) {
  for (const char* text :
       {"", "66841cd4", "66841cd4-6ded-4f4b-8f17-fd23f8ddc3dg", "66841cd4+6ded-4f4b-8f17-fd23f8ddc3de",
        "{66841cd4-6ded-4f4b-8f17-fd23f8ddc3de", "66841cd4-6ded-4f4b-8f17-fd23f8ddc3de "}) {
    EXPECT_FALSE(Guid::Parse(text).has_value()) << text;
  }
}

TEST(Types, HaveMicrosoftsNumbers) {
  EXPECT_EQ(static_cast<int>(WriterState::kWaitingForBackupComplete), 5);
  EXPECT_EQ(static_cast<int>(WriterState::kFailedAtPostRestore), 14);
  EXPECT_EQ(static_cast<int>(WriterState::kFailedAtBackupShutdown), 15);
  EXPECT_EQ(static_cast<int>(SnapshotState::kCreated), 12);
  EXPECT_EQ(static_cast<int>(SnapshotState::kPostCommitted), 15);
  EXPECT_EQ(static_cast<int>(FileRestoreStatus::kAll), 2);
  EXPECT_EQ(static_cast<int>(RestoreMethod::kRestoreStopStart), 8);
  EXPECT_EQ(static_cast<int>(BackupType::kCopy), 5);
  EXPECT_EQ(kAttrNoAutoRecovery, 2u);
  EXPECT_EQ(kFileSpecDefault, 3855u);
  EXPECT_EQ(kContextClientAccessible, kAttrPersistent | kAttrClientAccessible | kAttrNoAutoRelease | kAttrNoWriters);
  EXPECT_EQ(NameOf(WriterState::kFailedAtFreeze), "FAILED_AT_FREEZE");
  EXPECT_EQ(NameOf(SnapshotState::kPostCommitted), "POSTCOMMITTED");
}

TEST(Errors, AreListedOnceInOrderWithAReason) {
  uint32_t before = 0;
  for (const CodeInfo& info : AllCodes()) {
    EXPECT_GT(static_cast<uint32_t>(info.code), before) << info.name;
    before = static_cast<uint32_t>(info.code);
    EXPECT_TRUE(info.name.starts_with("VSS_E_")) << info.name;
    EXPECT_NE(info.status, absl::StatusCode::kOk);
    EXPECT_FALSE(info.reason.empty());
    EXPECT_FALSE(info.advice.empty());
    EXPECT_EQ(FindCode(info.code), &info);
  }
  EXPECT_EQ(FindCode(Code::kOk), nullptr);
}

TEST(Errors, KeepCodeAndReasonThroughAnnotate) {
  const absl::Status error = base::Annotate(Error(Code::kSnapshotSetInProgress, "busy"), "backup");
  EXPECT_EQ(CodeOf(error), Code::kSnapshotSetInProgress);
  EXPECT_EQ(ReasonOf(error), "VSS_SNAPSHOT_SET_IN_PROGRESS");
  EXPECT_EQ(error.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::MessageOf(error), "backup: busy");
  EXPECT_TRUE(IsRetryable(error));
  EXPECT_EQ(Describe(Code::kHoldWritesTimeout), "VSS_E_HOLD_WRITES_TIMEOUT (0x80042314)");
}

TEST(Errors, OfAWriterKeepTheCauseAndGetTheCodeThatFitsIt) {
  const auto code = [](absl::StatusCode status) {
    return CodeOf(AsWriterError(base::MakeError(status, "CAUSE", "x")));
  };
  EXPECT_EQ(code(absl::StatusCode::kResourceExhausted), Code::kWriterErrorOutOfResources);
  EXPECT_EQ(code(absl::StatusCode::kDeadlineExceeded), Code::kWriterErrorTimeout);
  EXPECT_EQ(code(absl::StatusCode::kUnavailable), Code::kWriterErrorRetryable);
  EXPECT_EQ(code(absl::StatusCode::kAborted), Code::kWriterErrorRetryable);
  EXPECT_EQ(code(absl::StatusCode::kFailedPrecondition), Code::kWriterErrorNonRetryable);
  const absl::Status error = AsWriterError(base::MakeError(absl::StatusCode::kAborted, "GUEST_FREEZE_FAILED", "no"));
  EXPECT_EQ(ReasonOf(error), "GUEST_FREEZE_FAILED");
  EXPECT_EQ(AsWriterError(Error(Code::kWriterErrorRecoveryFailed, "x")), Error(Code::kWriterErrorRecoveryFailed, "x"));
  EXPECT_TRUE(AsWriterError(absl::OkStatus()).ok());
}

TEST(Errors, OfAProviderAreLegalOnesOrUnexpected) {
  EXPECT_EQ(CodeOf(AsProviderError(Error(Code::kProviderVeto, "x"))), Code::kProviderVeto);
  EXPECT_EQ(CodeOf(AsProviderError(Error(Code::kWriterErrorTimeout, "x"))), Code::kUnexpectedProviderError);
  const absl::Status full = base::MakeError(absl::StatusCode::kResourceExhausted, "SCRATCH_FULL", "x");
  EXPECT_EQ(CodeOf(AsProviderError(full)), Code::kInsufficientStorage);
  EXPECT_EQ(ReasonOf(AsProviderError(full)), "SCRATCH_FULL");
  EXPECT_EQ(CodeOf(AsProviderError(absl::InternalError("x"))), Code::kUnexpectedProviderError);
}

TEST(Errors, RetryAdviceIsMicrosofts) {
  EXPECT_EQ(RetryAdvice().wait, absl::Minutes(10));
  EXPECT_EQ(RetryAdvice().retry_count_max, 3);
  EXPECT_FALSE(IsRetryable(Error(Code::kWriterErrorNonRetryable, "x")));
  EXPECT_TRUE(IsRetryable(Error(Code::kWriterErrorTimeout, "x")));
  EXPECT_TRUE(IsRetryable(absl::UnavailableError("x")));
  EXPECT_FALSE(IsRetryable(absl::NotFoundError("x")));
}

}  // namespace
}  // namespace umbra::vss

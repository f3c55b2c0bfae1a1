// Proves that a socket left by a killed daemon is replaced, and that nobody else's socket or file is.
#include "server/unix_socket.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "storage/base/status.h"
#include "tests/support/temp_dir.h"

namespace umbra::server {
namespace {

class UnixSocketTest : public ::testing::Test {
 protected:
  int Bind(const std::string& path) {
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
};

TEST_F(UnixSocketTest, MakesTheFolder) {
  EXPECT_TRUE(PrepareUnixSocket(files_, dir_.File("a/b/s")).ok());
  EXPECT_TRUE(*files_.Exists(dir_.File("a/b")));
}

TEST_F(UnixSocketTest, StaleSocketIsRemoved) {
  close(Bind(dir_.File("s")));
  ASSERT_TRUE(*files_.Exists(dir_.File("s")));
  EXPECT_TRUE(PrepareUnixSocket(files_, dir_.File("s")).ok());
  EXPECT_FALSE(*files_.Exists(dir_.File("s")));
}

TEST_F(UnixSocketTest, LiveSocketIsRespected) {
  const int fd = Bind(dir_.File("s"));
  ASSERT_EQ(listen(fd, 1), 0);
  const absl::Status prepared = PrepareUnixSocket(files_, dir_.File("s"));
  EXPECT_EQ(prepared.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(base::ReasonOf(prepared), "LISTEN_FAILED");
  EXPECT_TRUE(*files_.Exists(dir_.File("s")));
  close(fd);
}

TEST_F(UnixSocketTest, FileIsRespected) {
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("s"), "precious").ok());
  EXPECT_EQ(base::ReasonOf(PrepareUnixSocket(files_, dir_.File("s"))), "LISTEN_FAILED");
  EXPECT_EQ(*files_.ReadFile(dir_.File("s")), "precious");
}

TEST_F(UnixSocketTest, OnlyOwnerAndGroupMayConnect) {
  close(Bind(dir_.File("s")));
  ASSERT_TRUE(ProtectUnixSocket(dir_.File("s")).ok());
  struct stat st;
  ASSERT_EQ(stat(dir_.File("s").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0660u);
  EXPECT_FALSE(ProtectUnixSocket(dir_.File("none")).ok());
}

}  // namespace
}  // namespace umbra::server

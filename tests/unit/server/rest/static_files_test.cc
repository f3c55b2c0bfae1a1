// Proves that the dashboard's files come with the right type, age and compression, and that nothing else of the disk
// does.
#include "server/rest/static_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "storage/base/status.h"
#include "tests/support/temp_dir.h"

namespace umbra::rest {
namespace {

class StaticFilesTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& content) {
    const std::filesystem::path file = dir_.File("www") + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << content;
  }
  StaticFiles Read() { return *StaticFiles::Read(files_, dir_.File("www")); }
  static std::string HeaderOf(const Response& response, const char* name) {
    const std::string* value = FindHeader(response.headers, name);
    return value == nullptr ? "" : *value;
  }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
};

TEST_F(StaticFilesTest, ServesWhatIsThere) {
  Write("/index.html", "<p>");
  Write("/assets/app-1f.js", "let a;");
  Write("/assets/app-1f.js.gz", "packed");
  const StaticFiles files = Read();
  Response page = files.Get("/index.html", true, nullptr);
  EXPECT_EQ(*page.shared_body, "<p>");
  EXPECT_EQ(HeaderOf(page, "Content-Type"), "text/html; charset=utf-8");
  EXPECT_EQ(HeaderOf(page, "Cache-Control"), "no-cache");
  EXPECT_NE(HeaderOf(page, "Content-Security-Policy"), "");
  Response script = files.Get("/assets/app-1f.js", true, nullptr);
  EXPECT_EQ(*script.shared_body, "packed");
  EXPECT_EQ(HeaderOf(script, "Content-Encoding"), "gzip");
  EXPECT_EQ(HeaderOf(script, "Cache-Control"), "public, max-age=31536000, immutable");
  EXPECT_EQ(*files.Get("/assets/app-1f.js", false, nullptr).shared_body, "let a;");
  const std::string tag = HeaderOf(page, "ETag");
  EXPECT_EQ(files.Get("/index.html", true, &tag).status, 304);
}

TEST_F(StaticFilesTest, PathsOfThePageAreThePage) {
  Write("/index.html", "<p>");
  const StaticFiles files = Read();
  for (const char* path : {"/", "/jobs", "/hosts/h1/virtualMachines", "/assets/"})
    EXPECT_EQ(*files.Get(path, false, nullptr).shared_body, "<p>") << path;
  for (const char* path : {"/missing.js", "/../etc/passwd.txt", "/assets/app-2.js", "/.hidden"}) {
    EXPECT_EQ(files.Get(path, false, nullptr).status, 404) << path;
  }
}

TEST_F(StaticFilesTest, LinksAreNotFollowed) {
  Write("/index.html", "<p>");
  std::filesystem::create_symlink("/etc/passwd", dir_.File("www") + "/passwd.txt");
  std::filesystem::create_directory_symlink("/etc", dir_.File("www") + "/etc");
  const StaticFiles files = Read();
  EXPECT_EQ(files.Get("/passwd.txt", false, nullptr).status, 404);
  EXPECT_EQ(files.Get("/etc/hosts.conf", false, nullptr).status, 404);
}

TEST_F(StaticFilesTest, AFolderWithoutAPageIsRefused) {
  Write("/app.js", "x");
  EXPECT_EQ(base::ReasonOf(StaticFiles::Read(files_, dir_.File("www")).status()), "CONFIG_INVALID");
  EXPECT_FALSE(StaticFiles::Read(files_, dir_.File("nothing")).ok());
}

}  // namespace
}  // namespace umbra::rest

// A folder of its own for one test, removed with everything in it.
#ifndef UMBRA_TESTS_SUPPORT_TEMP_DIR_H_
#define UMBRA_TESTS_SUPPORT_TEMP_DIR_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

namespace umbra::testing {

class TempDir {
 public:
  TempDir() : path_(::testing::TempDir() + "umbra-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~TempDir() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_TEMP_DIR_H_

// What a recovery point is of, where a virtual machine's uuid stands: that uuid, or "fileset:" and a file set's name.
// Agent and daemon, manifests and the catalog use the same word, so that all that keeps virtual machines apart keeps file
// sets apart too.
#ifndef UMBRA_STORAGE_FILETREE_SUBJECT_H_
#define UMBRA_STORAGE_FILETREE_SUBJECT_H_

#include <optional>
#include <string>
#include <string_view>

namespace umbra::filetree {

inline constexpr std::string_view kFileSetSubjectPrefix = "fileset:";

inline std::string SubjectOfFileSet(std::string_view name) {
  return std::string(kFileSetSubjectPrefix).append(name);
}

// The name of the file set; none for a virtual machine.
inline std::optional<std::string> FileSetOf(std::string_view subject) {
  if (!subject.starts_with(kFileSetSubjectPrefix)) return std::nullopt;
  return std::string(subject.substr(kFileSetSubjectPrefix.size()));
}

}  // namespace umbra::filetree

#endif  // UMBRA_STORAGE_FILETREE_SUBJECT_H_

#include "agent/vss/file_sets.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "agent/vss/errors.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

using base::Invalid;

bool IsSeparator(char c) {
  return c == '/' || c == '\\';
}

bool SameCharacter(char a, char b, bool ignore_case) {
  if (IsSeparator(a) && IsSeparator(b)) return true;
  return ignore_case
             ? absl::ascii_tolower(static_cast<unsigned char>(a)) == absl::ascii_tolower(static_cast<unsigned char>(b))
             : a == b;
}

std::string_view WithoutTrailingSeparators(std::string_view path) {
  while (path.size() > 1 && IsSeparator(path.back())) path.remove_suffix(1);
  return path;
}

bool StartsWith(std::string_view text, std::string_view prefix, bool ignore_case) {
  return text.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), text.begin(),
                                                    [&](char a, char b) { return SameCharacter(a, b, ignore_case); });
}

bool SamePath(std::string_view a, std::string_view b, bool ignore_case) {
  a = WithoutTrailingSeparators(a);
  b = WithoutTrailingSeparators(b);
  return a.size() == b.size() && StartsWith(a, b, ignore_case);
}

// Whether `folder` is `root` or below it.
bool IsWithin(std::string_view folder, std::string_view root, bool ignore_case) {
  root = WithoutTrailingSeparators(root);
  folder = WithoutTrailingSeparators(folder);
  if (!StartsWith(folder, root, ignore_case)) return false;
  return folder.size() == root.size() || IsSeparator(root.back()) || IsSeparator(folder[root.size()]);
}

std::string Join(std::string_view folder, std::string_view name) {
  folder = WithoutTrailingSeparators(folder);
  return fmt::format("{}{}{}", folder, folder.ends_with('/') ? "" : "/", name);
}

std::string Below(const std::string& folder, const std::string& relative) {
  return relative.empty() ? folder : Join(folder, relative);
}

bool IsMissing(const absl::Status& status) {
  return status.code() == absl::StatusCode::kNotFound;
}

// Whether some name matches both patterns. meets[j]: the rest of `a` and the rest of `b` from j on have a common name.
bool PatternsMeet(std::string_view a, std::string_view b, bool ignore_case) {
  if (a == "*.*") a = "*";
  if (b == "*.*") b = "*";
  std::vector<bool> meets(b.size() + 1, false);
  for (size_t i = a.size() + 1; i-- > 0;) {
    std::vector<bool> next = std::move(meets);  // of i + 1
    meets.assign(b.size() + 1, false);
    for (size_t j = b.size() + 1; j-- > 0;) {
      const bool a_ends = i == a.size(), b_ends = j == b.size();
      bool met = a_ends && b_ends;
      if (!a_ends && a[i] == '*') met = met || next[j] || (!b_ends && meets[j + 1]);
      if (!b_ends && b[j] == '*') met = met || meets[j + 1] || (!a_ends && next[j]);
      if (!a_ends && !b_ends && a[i] != '*' && b[j] != '*') {
        met = (a[i] == '?' || b[j] == '?' || SameCharacter(a[i], b[j], ignore_case)) && next[j + 1];
      }
      meets[j] = met;
    }
  }
  return meets[0];
}

// One walk over the files of a set.
class Expansion {
 public:
  Expansion(base::Filesystem& filesystem, const std::vector<FileSet>& excluded, const ExpandOptions& options)
      : filesystem_(filesystem), excluded_(excluded), options_(options) {}

  absl::Status Add(const FileSet& set, const FileSource& how, const DifferencedFile* differenced) {
    set_ = &set;
    how_ = how;
    differenced_ = differenced;
    if (how.rule == CopyRule::kNever) return absl::OkStatus();
    seen_count_ = 0;
    const absl::Status walked = Walk("");
    if (IsMissing(walked) && HasWildcard(set.filespec)) return absl::OkStatus();
    if (!walked.ok() && !IsMissing(walked)) return walked;
    if (!HasWildcard(set.filespec) && seen_count_ == 0) return Missing(Join(set.path, set.filespec));
    return absl::OkStatus();
  }

  std::vector<SelectedFile> Take() {
    std::vector<SelectedFile> files;
    for (auto& [destination, file] : found_) files.push_back(std::move(file));
    return files;
  }

 private:
  static absl::Status Missing(const std::string& what) {
    return base::Error(absl::StatusCode::kNotFound, "FILE_NOT_FOUND", "{} isn't there", what);
  }

  std::string ReadAt(const std::string& relative) const {
    const std::string& root = set_->alternate_path.empty() ? set_->path : set_->alternate_path;
    return Below(options_.read_at ? options_.read_at(root) : root, relative);
  }

  bool IsExcluded(const std::string& folder, const std::string& name) const {
    return std::any_of(excluded_.begin(), excluded_.end(),
                       [&](const FileSet& set) { return Contains(set, folder, name, options_.ignore_case); });
  }

  absl::Status Walk(const std::string& relative) {
    ASSIGN_OR_RETURN(const std::vector<base::FolderEntry> entries, filesystem_.ListEntries(ReadAt(relative)));
    const std::string folder = Below(set_->path, relative);
    if (entries.empty() && !relative.empty()) Found(folder, ReadAt(relative), true);
    for (const base::FolderEntry& entry : entries) {
      const std::string below = relative.empty() ? entry.name : Join(relative, entry.name);
      if (entry.kind == base::EntryKind::kFolder && set_->recursive) {
        const absl::Status walked = Walk(below);
        if (!walked.ok() && !IsMissing(walked)) return walked;  // a folder may go away while the live volume is read
      }
      if (entry.kind == base::EntryKind::kFolder) continue;
      if (!MatchesPattern(set_->filespec, entry.name, options_.ignore_case)) continue;
      ++seen_count_;
      if (entry.kind != base::EntryKind::kFile) continue;
      if (!IsExcluded(folder, entry.name)) Found(Join(folder, entry.name), ReadAt(below), false);
    }
    return absl::OkStatus();
  }

  void Found(std::string destination, std::string source, bool is_folder) {
    SelectedFile file{std::move(source), destination, is_folder, how_, std::nullopt, ""};
    if (differenced_ != nullptr) {
      file.since = differenced_->since;
      file.since_lsn = differenced_->lsn;
    }
    const auto [place, is_new] = found_.try_emplace(std::move(destination), file);
    // Two sets name it: the one that copies more counts.
    if (!is_new && place->second.how.rule < file.how.rule) place->second = std::move(file);
  }

  base::Filesystem& filesystem_;
  const std::vector<FileSet>& excluded_;
  const ExpandOptions& options_;
  const FileSet* set_ = nullptr;
  FileSource how_;
  const DifferencedFile* differenced_ = nullptr;
  size_t seen_count_ = 0;                      // of this set, excluded ones too
  std::map<std::string, SelectedFile> found_;  // by destination
};

}  // namespace

FileSource SourceOf(uint32_t mask, BackupType type) {
  struct Bits {
    uint32_t copy;
    uint32_t snapshot;
    CopyRule otherwise;
  };
  Bits bits{kFileSpecFullBackupRequired, kFileSpecFullSnapshotRequired, CopyRule::kNever};
  if (type == BackupType::kIncremental) {
    bits = {kFileSpecIncrementalBackupRequired, kFileSpecIncrementalSnapshotRequired, CopyRule::kIfChanged};
  } else if (type == BackupType::kDifferential) {
    bits = {kFileSpecDifferentialBackupRequired, kFileSpecDifferentialSnapshotRequired, CopyRule::kIfChanged};
  } else if (type == BackupType::kLog) {
    bits = {kFileSpecLogBackupRequired, kFileSpecLogSnapshotRequired, CopyRule::kNever};
  }
  const CopyRule rule = (mask & bits.copy) != 0 ? CopyRule::kAlways : bits.otherwise;
  return {rule, rule != CopyRule::kNever && (mask & bits.snapshot) != 0};
}

bool MatchesPattern(std::string_view pattern, std::string_view name, bool ignore_case) {
  if (pattern == "*.*") return true;
  size_t p = 0, n = 0, star = std::string_view::npos, after_star = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after_star = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || SameCharacter(pattern[p], name[n], ignore_case))) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++after_star;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

bool HasWildcard(std::string_view filespec) {
  return filespec.find_first_of("*?") != std::string_view::npos;
}

bool Contains(const FileSet& set, std::string_view folder, std::string_view name, bool ignore_case) {
  const bool here = set.recursive ? IsWithin(folder, set.path, ignore_case) : SamePath(folder, set.path, ignore_case);
  return here && MatchesPattern(set.filespec, name, ignore_case);
}

bool SameFiles(const FileSet& set, std::string_view path, std::string_view filespec, bool recursive, bool ignore_case) {
  return set.recursive == recursive && SamePath(set.path, path, ignore_case) &&
         set.filespec.size() == filespec.size() && StartsWith(set.filespec, filespec, ignore_case);
}

bool MayOverlap(const FileSet& a, const FileSet& b, bool ignore_case) {
  const bool same_folder = SamePath(a.path, b.path, ignore_case) ||
                           (a.recursive && IsWithin(b.path, a.path, ignore_case)) ||
                           (b.recursive && IsWithin(a.path, b.path, ignore_case));
  return same_folder && PatternsMeet(a.filespec, b.filespec, ignore_case);
}

absl::Status CheckDifferenced(const DifferencedFile& differenced, const Component& component, bool ignore_case) {
  FileSet as_set;
  as_set.path = differenced.path;
  as_set.filespec = differenced.filespec;
  as_set.recursive = differenced.recursive;
  bool overlaps = false;
  for (const std::vector<FileSet>* sets : {&component.files, &component.log_files}) {
    for (const FileSet& set : *sets) {
      if (SameFiles(set, as_set.path, as_set.filespec, as_set.recursive, ignore_case)) return absl::OkStatus();
      overlaps = overlaps || MayOverlap(set, as_set, ignore_case);
    }
  }
  if (!overlaps) return absl::OkStatus();
  return Invalid("differenced files {} in {} overlap a file set of component {} without being it", differenced.filespec,
                 differenced.path, component.name);
}

absl::StatusOr<std::vector<SelectedFile>> ExpandFiles(base::Filesystem& filesystem, const Component& component,
                                                      const std::vector<FileSet>& excluded,
                                                      const std::vector<DifferencedFile>& differenced,
                                                      const ExpandOptions& options) {
  Expansion expansion(filesystem, excluded, options);
  std::vector<const DifferencedFile*> without_set;
  for (const DifferencedFile& d : differenced) {
    RETURN_IF_ERROR(CheckDifferenced(d, component, options.ignore_case));
    without_set.push_back(&d);
  }
  for (const std::vector<FileSet>* sets : {&component.files, &component.log_files}) {
    for (const FileSet& set : *sets) {
      FileSource how = SourceOf(set.backup_type_mask, options.type);
      const DifferencedFile* own = nullptr;
      for (const DifferencedFile& d : differenced) {
        if (!SameFiles(set, d.path, d.filespec, d.recursive, options.ignore_case)) continue;
        own = &d;
        how.rule = CopyRule::kIfChanged;
        std::erase(without_set, &d);
      }
      RETURN_IF_ERROR(expansion.Add(set, how, own));
    }
  }
  // Differenced files outside of every set are part of the component too.
  for (const DifferencedFile* d : without_set) {
    FileSet set;
    set.path = d->path;
    set.filespec = d->filespec;
    set.recursive = d->recursive;
    RETURN_IF_ERROR(expansion.Add(set, {CopyRule::kIfChanged, true}, d));
  }
  return expansion.Take();
}

}  // namespace umbra::vss

// umbra repository key list | add | remove | rotate
#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "server/cli/context.h"
#include "server/cli/resolve.h"
#include "storage/base/terminal.h"

namespace umbra::cli {
namespace {

struct AddOptions {
  bool recovery = false;
  bool passphrase = false;
  std::string key_file;
  std::string label;
};

std::string KindOf(const v1::RepositoryKey& key) {
  return EnumText(v1::RepositoryKey::Kind_Name(key.kind()), "KIND_");
}

std::string StateOf(const v1::RepositoryKey& key) {
  if (!key.problem().empty()) return key.problem();
  return key.in_use() ? "the daemon's own" : "";
}

void ListKeys(Context& context, const std::string& repository) {
  Table table({"KEY", "KIND", "ADDED", "LABEL", "NOTE"});
  v1::ListRepositoryKeysRequest request;
  request.set_parent(RepositoryName(context, repository));
  ForEach(*context.client().keys, &v1::RepositoryKeyService::Stub::ListRepositoryKeys, request,
          &v1::ListRepositoryKeysResponse::keys, 0, [&](const v1::RepositoryKey& key) {
            if (context.json) return context.output().Json(key);
            table.Add({LastSegment(key.name()), KindOf(key), TimeText(key.has_create_time(), key.create_time()),
                       key.label(), StateOf(key)});
          });
  if (!context.json) table.Print();
}

std::string ReadPassphrase() {
  const std::string passphrase = base::ReadHiddenLine("New passphrase: ");
  if (isatty(STDIN_FILENO) == 1 && base::ReadHiddenLine("Once more: ") != passphrase) {
    throw ExitError{kExitUsage, "the two passphrases differ", "KEY_INVALID"};
  }
  return passphrase;
}

// Open before the key is made: a key that can't be written anywhere would be lost.
class NewFile {
 public:
  explicit NewFile(const std::string& path)
      : path_(path), fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) {
    if (fd_ < 0) throw ExitError{kExitFailed, fmt::format("{}: {}", path, strerror(errno)), "IO_ERROR"};
  }
  ~NewFile() {
    close(fd_);
    if (!written_) unlink(path_.c_str());
  }
  NewFile(const NewFile&) = delete;

  void Write(const std::string& text) {
    const bool ok = write(fd_, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(fd_) == 0;
    if (!ok) throw ExitError{kExitFailed, fmt::format("{}: {}", path_, strerror(errno)), "IO_ERROR"};
    written_ = true;
  }

 private:
  const std::string path_;
  const int fd_;
  bool written_ = false;
};

void AddKey(Context& context, const std::string& repository, const AddOptions& options) {
  v1::CreateRepositoryKeyRequest request;
  request.set_parent(RepositoryName(context, repository));
  v1::RepositoryKey& key = *request.mutable_key();
  key.set_label(options.label);
  key.set_kind(options.recovery     ? v1::RepositoryKey::KIND_RECOVERY_KEY
               : options.passphrase ? v1::RepositoryKey::KIND_PASSPHRASE
                                    : v1::RepositoryKey::KIND_KEY_FILE);
  if (options.passphrase) request.set_passphrase(ReadPassphrase());
  std::unique_ptr<NewFile> file;
  if (!options.key_file.empty()) file = std::make_unique<NewFile>(options.key_file);
  v1::CreateRepositoryKeyResponse answer =
      Call(*context.client().keys, &v1::RepositoryKeyService::Stub::CreateRepositoryKey, request);
  if (file != nullptr) file->Write(answer.key_file());
  answer.clear_key_file();
  if (context.json) return context.output().Json(answer);
  if (options.recovery) {
    fmt::print("{}\n", answer.recovery_key());
    fmt::print(stderr,
               "Write it down and keep it away from this machine: it is shown only now.\n"
               "Whoever has it and the repository can restore everything (umbrad --recover-key).\n");
  } else {
    fmt::print("{}\n", LastSegment(answer.key().name()));
    fmt::print(stderr, "added {}\n", file != nullptr ? options.key_file : "the passphrase");
  }
}

void RemoveKey(Context& context, const std::string& repository, const std::string& id, bool yes) {
  v1::DeleteRepositoryKeyRequest request;
  request.set_name(RepositoryName(context, repository) + "/keys/" + LastSegment(id));
  if (!yes) {
    throw ExitError{kExitUsage, fmt::format("this removes {}; say --yes to do it", request.name()), "INVALID_REQUEST"};
  }
  Call(*context.client().keys, &v1::RepositoryKeyService::Stub::DeleteRepositoryKey, request);
  fmt::print(stderr, "removed {}. Who kept a copy of it reads what is written until: umbra repository key rotate\n",
             LastSegment(id));
}

void RotateKeys(Context& context, const std::string& repository) {
  v1::RotateRepositoryKeysRequest request;
  request.set_parent(RepositoryName(context, repository));
  const v1::RotateRepositoryKeysResponse answer =
      Call(*context.client().keys, &v1::RepositoryKeyService::Stub::RotateRepositoryKeys, request);
  if (context.json) return context.output().Json(answer);
  const auto accepted = std::ranges::count_if(answer.keys(), [](const auto& key) { return key.problem().empty(); });
  fmt::print("epoch {}, {} keys\n", answer.epoch(), accepted);
  for (const auto& key : answer.keys()) {
    if (!key.problem().empty()) fmt::print(stderr, "passed over {}: {}\n", LastSegment(key.name()), key.problem());
  }
}

}  // namespace

void AddRepositoryKeyCommands(CLI::App& repository_app, Context& context) {
  static std::string repository;
  static AddOptions options;
  static std::string id;
  static bool yes = false;
  CLI::App* key = repository_app.add_subcommand("key", "Keys that open a repository");
  key->require_subcommand(1);
  const auto add_repository = [](CLI::App* command) {
    command->add_option("--repository", repository, "Name; may be left out when there is only one");
  };

  CLI::App* list = key->add_subcommand("list", "Lists the keys; never their secrets");
  add_repository(list);
  list->callback([&] { ListKeys(context, repository); });

  CLI::App* add = key->add_subcommand("add", "Adds a key: one of --recovery, --passphrase, --key-file");
  add_repository(add);
  CLI::Option_group* kind = add->add_option_group("kind");
  kind->add_flag("--recovery", options.recovery, "A recovery key, printed once: for paper");
  kind->add_flag("--passphrase", options.passphrase,
                 "A passphrase of at least 12 characters, read from standard input");
  kind->add_option("--key-file", options.key_file, "A key file, written here (must not exist)")->type_name("PATH");
  kind->require_option(1);
  add->add_option("--label", options.label, "Whose it is, or where it lies");
  add->footer(
      "Examples:\n"
      "  umbra repository key add --recovery --label \"safe in the office\"\n"
      "  umbra repository key add --passphrase --label ann\n"
      "  umbra repository key add --key-file /media/stick/main.key");
  add->callback([&] { AddKey(context, repository, options); });

  CLI::App* remove = key->add_subcommand("remove", "Removes a key; the last one and the daemon's own stay");
  add_repository(remove);
  remove->add_option("KEY", id, "As umbra repository key list shows it")->required();
  remove->add_flag("--yes", yes, "Really");
  remove->footer("Example:\n  umbra repository key remove 3f2a9c01d4e85b77 --yes && umbra repository key rotate");
  remove->callback([&] { RemoveKey(context, repository, id, yes); });

  CLI::App* rotate = key->add_subcommand("rotate", "Encrypts with new keys from now on; stored data stays as it is");
  add_repository(rotate);
  rotate->footer("Example:\n  umbra repository key rotate");
  rotate->callback([&] { RotateKeys(context, repository); });
}

}  // namespace umbra::cli

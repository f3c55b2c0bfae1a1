#include "server/api/repository_key_service.h"

#include <algorithm>

#include "server/api/convert.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "storage/base/status.h"
#include "storage/repo/keys.h"

namespace umbra::api {
namespace {

constexpr char kList[] = "repositoryKeys";

std::string KeyName(const catalog::RepositoryId& repository, const std::string& id) {
  return NameOf(repository) + "/keys/" + id;
}

void Describe(const catalog::RepositoryId& repository, const repo::KeyInfo& key, v1::RepositoryKey* out) {
  out->set_name(KeyName(repository, key.id));
  out->set_kind(static_cast<v1::RepositoryKey::Kind>(key.kind));
  out->set_label(key.label);
  ToProto(key.create_time, out->mutable_create_time());
  out->set_in_use(key.in_use);
  out->set_problem(key.problem);
}

void SortById(std::vector<repo::KeyInfo>& keys) {
  std::ranges::sort(keys, {}, &repo::KeyInfo::id);
}

}  // namespace

static_assert(static_cast<int>(repo::KeyKind::kPassphrase) == v1::RepositoryKey::KIND_PASSPHRASE &&
              static_cast<int>(repo::KeyKind::kKeyFile) == v1::RepositoryKey::KIND_KEY_FILE &&
              static_cast<int>(repo::KeyKind::kRecoveryKey) == v1::RepositoryKey::KIND_RECOVERY_KEY);

absl::StatusOr<const maintenance::OpenRepository*> RepositoryKeyService::Find(const std::string& parent) const {
  ASSIGN_OR_RETURN(const catalog::RepositoryId id, ParseRepositoryName(parent, "parent"));
  return repositories_.Find(id);
}

grpc::ServerUnaryReactor* RepositoryKeyService::ListRepositoryKeys(grpc::CallbackServerContext* context,
                                                                   const v1::ListRepositoryKeysRequest* request,
                                                                   v1::ListRepositoryKeysResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return List(*request, *response); });
}

absl::Status RepositoryKeyService::List(const v1::ListRepositoryKeysRequest& request,
                                        v1::ListRepositoryKeysResponse& response) {
  ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, Find(request.parent()));
  const std::string list = kList + request.parent();
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<std::string>(request, list));
  ASSIGN_OR_RETURN(repo::KeyList keys, repository->repository->ListKeys());
  SortById(keys.keys);
  response.set_epoch(static_cast<int32_t>(keys.epoch));
  ToProto(keys.epoch_time, response.mutable_epoch_time());
  const std::string* last = nullptr;
  for (const repo::KeyInfo& key : keys.keys) {
    if (options.after_key && key.id <= *options.after_key) continue;
    if (response.keys_size() == options.page_size) {
      response.set_next_page_token(MakePageToken(list, *last));
      break;
    }
    Describe(repository->id, key, response.add_keys());
    last = &key.id;
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* RepositoryKeyService::CreateRepositoryKey(grpc::CallbackServerContext* context,
                                                                    const v1::CreateRepositoryKeyRequest* request,
                                                                    v1::CreateRepositoryKeyResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return Create(*request, *response); });
}

absl::Status RepositoryKeyService::Create(const v1::CreateRepositoryKeyRequest& request,
                                          v1::CreateRepositoryKeyResponse& response) {
  ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, Find(request.parent()));
  const auto kind = request.key().kind();
  repo::KeySecret secret;
  if (kind == v1::RepositoryKey::KIND_PASSPHRASE) {
    ASSIGN_OR_RETURN(secret, repo::PassphraseSecret(request.passphrase()));
  } else if (kind == v1::RepositoryKey::KIND_KEY_FILE) {
    secret = repo::NewKeyFileSecret(random_);
  } else if (kind == v1::RepositoryKey::KIND_RECOVERY_KEY) {
    secret = repo::NewRecoverySecret(random_);
  } else {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "key.kind: {} is no kind of key",
                       static_cast<int>(kind));
  }
  if (kind != v1::RepositoryKey::KIND_PASSPHRASE && !request.passphrase().empty()) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                       "passphrase: the daemon makes keys of this kind");
  }
  ASSIGN_OR_RETURN(const repo::KeyInfo added, repository->repository->AddKey(secret, request.key().label()));
  Describe(repository->id, added, response.mutable_key());
  if (kind == v1::RepositoryKey::KIND_RECOVERY_KEY) response.set_recovery_key(repo::PrintRecoveryKey(secret));
  if (kind == v1::RepositoryKey::KIND_KEY_FILE) {
    const std::string comment = fmt::format("Key of the Umbra repository {}", repository->id.value);
    response.set_key_file(repo::PrintKeyFile(secret, comment));
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* RepositoryKeyService::DeleteRepositoryKey(grpc::CallbackServerContext* context,
                                                                    const v1::DeleteRepositoryKeyRequest* request,
                                                                    google::protobuf::Empty* response) {
  return door_.Unary(context, request, response, [=, this] { return Delete(*request); });
}

absl::Status RepositoryKeyService::Delete(const v1::DeleteRepositoryKeyRequest& request) {
  ASSIGN_OR_RETURN(const RepositoryKeyName name, ParseRepositoryKeyName(request.name(), "name"));
  ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, repositories_.Find(name.repository));
  return repository->repository->RemoveKey(name.key);
}

grpc::ServerUnaryReactor* RepositoryKeyService::RotateRepositoryKeys(grpc::CallbackServerContext* context,
                                                                     const v1::RotateRepositoryKeysRequest* request,
                                                                     v1::RotateRepositoryKeysResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return Rotate(*request, *response); });
}

absl::Status RepositoryKeyService::Rotate(const v1::RotateRepositoryKeysRequest& request,
                                          v1::RotateRepositoryKeysResponse& response) {
  ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, Find(request.parent()));
  ASSIGN_OR_RETURN(repo::KeyList keys, repository->repository->RotateKeys());
  SortById(keys.keys);
  response.set_epoch(static_cast<int32_t>(keys.epoch));
  for (const repo::KeyInfo& key : keys.keys) Describe(repository->id, key, response.add_keys());
  return absl::OkStatus();
}

}  // namespace umbra::api

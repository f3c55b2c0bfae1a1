// Target: the configuration files of umbrad and umbra-agent.
#include "agent/config.h"
#include "server/config.h"
#include "storage/base/status.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {
namespace {

void CheckRefusal(const absl::Status& status) {
  Require(base::ReasonOf(status) == "CONFIG_INVALID" && !base::MessageOf(status).empty(),
          "a refusal says what is wrong");
}

void FuzzDaemon(std::string_view text) {
  const auto config = server::ParseConfig(text, "umbrad.toml");
  if (!config.ok()) return CheckRefusal(config.status());
  const auto complete = server::CompleteConfig(*config);
  if (!complete.ok()) return CheckRefusal(complete.status());
  const auto again = server::ParseConfig(server::PrintConfig(*complete), "umbrad.toml");
  Require(again.ok(), "a complete configuration is read as it is printed");
  Require(server::PrintConfig(*again) == server::PrintConfig(*complete), "printing loses nothing");
}

void FuzzAgent(std::string_view text) {
  const auto config = agent::ParseConfig(text, "umbra-agent.toml");
  if (!config.ok()) return CheckRefusal(config.status());
  if (const auto complete = agent::CompleteConfig(*config); !complete.ok()) CheckRefusal(complete.status());
}

}  // namespace

std::vector<std::string> Seeds() {
  return {
      "0data_dir = \"/d\"\n[http]\nlisten = \"127.0.0.1:7443\"\ncors_origins = [\"https://a\"]\n[log]\nlevel = "
      "\"debug\"\n",
      "0[[repository]]\nid = \"main\"\npath = \"/r\"\n[jobs]\nmax = 8\n[prune]\nevery = \"24h\"\n",
      "0" + server::PrintConfig(*server::CompleteConfig(server::Config())),
      "1data_dir = \"/d\"\n[daemon]\nagent_address = \"a:7442\"\n[transfer]\nworkers = 2\n",
      "1[[file_sets]]\nname = \"shop\"\nfolders = [\"/srv/shop\"]\nfreeze = [\"/bin/true\"]\n[hooks]\nfolder = "
      "\"/h\"\n"};
}

void TestOneInput(std::string_view input) {
  if (input.empty()) return;
  input[0] % 2 == 0 ? FuzzDaemon(input.substr(1)) : FuzzAgent(input.substr(1));
}

}  // namespace umbra::fuzz

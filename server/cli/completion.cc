// umbra completion bash | zsh | fish: made from the command tree itself, so that it can't go stale.
#include <fmt/format.h>

#include "server/cli/context.h"

namespace umbra::cli {
namespace {

// "vm list" -> its words: sub-commands and long options.
std::vector<std::pair<std::string, std::string>> Words(CLI::App* app, const std::string& path) {
  std::string words;
  for (CLI::App* sub : app->get_subcommands({})) words += sub->get_name() + " ";
  for (const CLI::Option* option : app->get_options()) {
    for (const auto& name : option->get_lnames()) words += "--" + name + " ";
  }
  std::vector<std::pair<std::string, std::string>> all = {{path, words}};
  for (CLI::App* sub : app->get_subcommands({})) {
    for (auto& entry : Words(sub, path.empty() ? sub->get_name() : path + " " + sub->get_name())) all.push_back(entry);
  }
  return all;
}

void PrintBash(CLI::App* root) {
  fmt::print("_umbra() {{\n  local path= word i\n  for ((i = 1; i < COMP_CWORD; i++)); do\n    word=${{COMP_WORDS[i]}}\n"
             "    [[ $word == -* ]] || path=\"${{path:+$path }}$word\"\n  done\n  local words=\n  case \"$path\" in\n");
  for (const auto& [path, words] : Words(root, "")) {
    fmt::print("    \"{}\"{}) words=\"{}\" ;;\n", path, path.find(' ') == std::string::npos ? "" : "*", words);
  }
  fmt::print("  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"${{COMP_WORDS[COMP_CWORD]}}\"))\n}}\n"
             "complete -F _umbra umbra\n");
}

void PrintFish(CLI::App* root) {
  for (CLI::App* sub : root->get_subcommands({})) {
    fmt::print("complete -c umbra -f -n __fish_use_subcommand -a {} -d \"{}\"\n", sub->get_name(), sub->get_description());
    for (CLI::App* verb : sub->get_subcommands({})) {
      fmt::print("complete -c umbra -f -n '__fish_seen_subcommand_from {}' -a {} -d \"{}\"\n", sub->get_name(),
                 verb->get_name(), verb->get_description());
    }
  }
}

}  // namespace

void AddCompletionCommand(CLI::App& app) {
  static std::string shell;
  CLI::App* completion = app.add_subcommand("completion", "Prints a completion script for a shell");
  completion->add_option("SHELL", shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->footer("Example:\n  umbra completion bash > /etc/bash_completion.d/umbra");
  completion->callback([&app] {
    if (shell == "fish") return PrintFish(&app);
    if (shell == "zsh") fmt::print("autoload -U +X bashcompinit && bashcompinit\n");
    PrintBash(&app);
  });
}

}  // namespace umbra::cli

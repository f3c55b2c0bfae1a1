// umbra host list | show | label | token | drain | undrain | delete, umbra writer list
#include <fmt/format.h>

#include "server/cli/context.h"
#include "server/cli/labels.h"
#include "server/cli/resolve.h"

namespace umbra::cli {
namespace {

std::string StateOf(const v1::Host& host) {
  std::string state = EnumText(v1::Host::State_Name(host.state()), "STATE_");
  if (host.drained()) state += ", drained";
  if (!host.agent_problem_reason().empty()) state += ", " + host.agent_problem_reason();
  return state;
}

void ListHosts(Context& context, const std::string& select) {
  Table table({"HOST", "NAME", "STATE", "VMS", "AGENT", "HYPERVISOR", "LAST SEEN", "LABELS"});
  v1::ListHostsRequest request;
  request.set_filter(select);
  ForEach(*context.client().hosts, &v1::HostService::Stub::ListHosts, request, &v1::ListHostsResponse::hosts, 0,
          [&](const v1::Host& host) {
            if (context.json) return context.output().Json(host);
            table.Add({ShortId(host.name()), host.display_name(), StateOf(host),
                       std::to_string(host.virtual_machine_count()), host.agent_version(), host.hypervisor(),
                       TimeText(host.has_last_seen_time(), host.last_seen_time()), LabelsText(host.labels())});
          });
  if (!context.json) table.Print();
}

void PrintHost(Context& context, const v1::Host& host) {
  if (context.json) return context.output().Json(host);
  context.output().Fields(
      {{"Host", LastSegment(host.name())},
       {"Name", host.display_name()},
       {"State", StateOf(host)},
       {"Labels", LabelsText(host.labels())},
       {"Agent", host.agent_version()},
       {"Hypervisor", host.hypervisor()},
       {"Problem", host.hypervisor_error()},
       {"Agent problem", host.agent_problem()},
       {"Drained", host.drained() ? "yes" + (host.drain_note().empty() ? "" : ": " + host.drain_note()) : ""},
       {"Working on", std::to_string(host.working_job_count()) + " jobs"},
       {"Virtual machines", std::to_string(host.virtual_machine_count())},
       {"Enrolled", TimeText(host.has_create_time(), host.create_time())},
       {"Last seen", TimeText(host.has_last_seen_time(), host.last_seen_time())}});
}

void LabelHost(Context& context, const std::string& text, const std::vector<std::string>& changes) {
  const auto request = LabelRequest<v1::SetHostLabelsRequest>(ResolveHost(context.client(), text).name(), changes);
  PrintHost(context, Call(*context.client().hosts, &v1::HostService::Stub::SetHostLabels, request));
}

void MakeToken(Context& context, int ttl_minutes, const std::string& pattern) {
  v1::CreateEnrolmentTokenRequest request;
  request.mutable_ttl()->set_seconds(ttl_minutes * 60);
  request.set_host_pattern(pattern);
  const v1::EnrolmentToken token =
      Call(*context.client().hosts, &v1::HostService::Stub::CreateEnrolmentToken, request);
  if (context.json) return context.output().Json(token);
  fmt::print("{}\n", token.token());
  fmt::print(stderr, "Valid once, until {}. On the host run:\n  umbra-agent enrol --daemon {} --token {}\n",
             TimeText(token.has_expire_time(), token.expire_time()), token.enrolment_address(), token.token());
}

void DrainHost(Context& context, const std::string& text, const std::string& note) {
  v1::DrainHostRequest request;
  request.set_name(ResolveHost(context.client(), text).name());
  request.set_note(note);
  const v1::Host host = Call(*context.client().hosts, &v1::HostService::Stub::DrainHost, request);
  if (context.json) return context.output().Json(host);
  fmt::print(stderr, "{} gets no new work; {} jobs go on to their end\n", host.display_name(),
             host.working_job_count());
}

void UndrainHost(Context& context, const std::string& text) {
  v1::UndrainHostRequest request;
  request.set_name(ResolveHost(context.client(), text).name());
  const v1::Host host = Call(*context.client().hosts, &v1::HostService::Stub::UndrainHost, request);
  if (context.json) return context.output().Json(host);
  fmt::print(stderr, "{} gets work again\n", host.display_name());
}

void DeleteHost(Context& context, const std::string& text, bool yes, bool force) {
  const v1::Host host = ResolveHost(context.client(), text);
  if (!yes) {
    throw ExitError{kExitUsage, fmt::format("this removes host {} ({}) and revokes its certificate; say --yes to do it",
                                            host.display_name(), host.name()), "INVALID_REQUEST"};
  }
  v1::DeleteHostRequest request;
  request.set_name(host.name());
  request.set_force(force);
  Call(*context.client().hosts, &v1::HostService::Stub::DeleteHost, request);
  fmt::print(stderr, "removed host {}\n", host.display_name());
}

void ListWriters(Context& context, const std::string& text) {
  Table table({"WRITER", "STATE", "COMPONENTS", "LAST FAILURE"});
  v1::ListWritersRequest request;
  request.set_parent(ResolveHost(context.client(), text).name());
  ForEach(*context.client().writers, &v1::WriterService::Stub::ListWriters, request, &v1::ListWritersResponse::writers, 0,
          [&](const v1::Writer& writer) {
            if (context.json) return context.output().Json(writer);
            table.Add({writer.display_name(), writer.state(), std::to_string(writer.component_count()),
                       writer.last_failure().empty() ? "-" : writer.last_failure()});
          });
  if (!context.json) table.Print();
}

}  // namespace

void AddHostCommands(CLI::App& app, Context& context) {
  CLI::App* host = app.add_subcommand("host", "Machines with an agent");
  host->require_subcommand(1);
  static std::string select;
  CLI::App* hosts = host->add_subcommand("list", "Lists the hosts");
  hosts->add_option("--select", select, "Only those that this expression matches, such as label.site=north");
  hosts->callback([&] { ListHosts(context, select); });

  static std::string name;
  CLI::App* show = host->add_subcommand("show", "Shows a host");
  show->add_option("HOST", name, "Name or id")->required();
  show->callback([&] { PrintHost(context, ResolveHost(context.client(), name)); });

  static std::vector<std::string> labels;
  CLI::App* label = host->add_subcommand("label", "Sets and removes labels; its virtual machines have them, too");
  label->add_option("HOST", name, "Name or id")->required();
  label->add_option("LABEL", labels, "env=prod sets a label, env- removes it")->required();
  label->footer("Example:\n  umbra host label hv-3 site=north owner-");
  label->callback([&] { LabelHost(context, name, labels); });

  static int ttl_minutes = 60;
  static std::string pattern;
  CLI::App* token = host->add_subcommand("token", "Makes a one-time token with which an agent enrols");
  token->add_option("--ttl-minutes", ttl_minutes, "How long it may be used, in minutes")->check(CLI::Range(1, 7 * 24 * 60))->capture_default_str();
  token->add_option("--host-pattern", pattern, "Host names that may use it, such as 'hv-*.example.com'");
  token->footer("Example:\n  umbra host token --host-pattern 'hv-*' --ttl-minutes 15");
  token->callback([&] { MakeToken(context, ttl_minutes, pattern); });

  static std::string note;
  CLI::App* drain = host->add_subcommand("drain", "Maintenance: gives a host no new work; what it works on ends");
  drain->add_option("HOST", name, "Name or id")->required();
  drain->add_option("--note", note, "Who and why, for others");
  drain->footer("Example:\n  umbra host drain hv-3 --note 'new memory, until noon'");
  drain->callback([&] { DrainHost(context, name, note); });
  CLI::App* undrain = host->add_subcommand("undrain", "Ends the maintenance of a host");
  undrain->add_option("HOST", name, "Name or id")->required();
  undrain->callback([&] { UndrainHost(context, name); });

  static bool yes = false;
  static bool force = false;
  CLI::App* remove = host->add_subcommand("delete", "Removes a host; its recovery points stay");
  remove->add_option("HOST", name, "Name or id")->required();
  remove->add_flag("--yes", yes, "Don't ask");
  remove->add_flag("--force", force, "Also when its agent works: the jobs are cancelled");
  remove->callback([&] { DeleteHost(context, name, yes, force); });

  CLI::App* writer = app.add_subcommand("writer", "VSS writers of a host");
  writer->require_subcommand(1);
  CLI::App* list = writer->add_subcommand("list", "Lists a host's writers with their state");
  list->add_option("HOST", name, "Name or id")->required();
  list->callback([&] { ListWriters(context, name); });
}

}  // namespace umbra::cli

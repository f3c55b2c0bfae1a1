#include "agent/cluster/pacemaker/pacemaker_xml.h"

#include <algorithm>
#include <pugixml.hpp>
#include <utility>

#include "storage/base/status.h"

namespace umbra::cluster {
namespace {

// A primitive in a group in a clone is the deepest there is.
constexpr int kNestingMax = 8;

absl::Status Invalid(std::string_view what) {
  return base::Error(absl::StatusCode::kInternal, "CLUSTER_ANSWER_INVALID", "the cluster's answer can't be read: {}",
                     what);
}

absl::Status Load(std::string_view xml, pugi::xml_document* document) {
  if (xml.size() > kPacemakerXmlBytesMax) return Invalid("it is too large");
  const pugi::xml_parse_result result = document->load_buffer(xml.data(), xml.size());
  return result ? absl::OkStatus() : Invalid(result.description());
}

bool IsYes(const pugi::xml_attribute& attribute) {
  return std::string_view(attribute.value()) == "true";
}

// The first value of that name in any set of `kind` of this element: what crm_resource reads and changes.
std::optional<std::string> ValueIn(pugi::xml_node element, const char* kind, std::string_view name) {
  for (const pugi::xml_node set : element.children(kind)) {
    for (const pugi::xml_node pair : set.children("nvpair")) {
      if (name == pair.attribute("name").value()) return pair.attribute("value").value();
    }
  }
  return std::nullopt;
}

void AddParameters(pugi::xml_node element, std::map<std::string, std::string>* parameters) {
  for (const pugi::xml_node set : element.children("instance_attributes")) {
    for (const pugi::xml_node pair : set.children("nvpair")) {
      parameters->emplace(pair.attribute("name").value(), pair.attribute("value").value());
    }
  }
}

std::string AgentOf(pugi::xml_node element) {
  std::string agent = element.attribute("class").value();
  for (const char* part : {"provider", "type"}) {
    if (const std::string value = element.attribute(part).value(); !value.empty()) agent += ":" + value;
  }
  return agent;
}

struct Walk {
  std::map<std::string, pugi::xml_node> templates;
  std::vector<PacemakerPrimitive> primitives;

  void AddPrimitive(pugi::xml_node element, pugi::xml_node settings) {
    PacemakerPrimitive primitive;
    primitive.id = element.attribute("id").value();
    primitive.settings_id = settings.attribute("id").value();
    if (primitive.id.empty() || primitive.settings_id.empty()) return;
    primitive.agent = AgentOf(element);
    AddParameters(element, &primitive.parameters);
    if (const auto found = templates.find(element.attribute("template").value()); found != templates.end()) {
      if (primitive.agent.empty()) primitive.agent = AgentOf(found->second);
      AddParameters(found->second, &primitive.parameters);
    }
    primitive.maintenance = ValueIn(settings, "meta_attributes", "maintenance");
    primitive.target_role = ValueIn(settings, "meta_attributes", "target-role");
    primitives.push_back(std::move(primitive));
  }

  // `around`: the clone or bundle that keeps the settings of what is below it.
  void Visit(pugi::xml_node parent, pugi::xml_node around, int depth) {
    if (depth > kNestingMax) return;
    for (const pugi::xml_node child : parent.children()) {
      const std::string_view name = child.name();
      if (name == "primitive") AddPrimitive(child, around ? around : child);
      if (name == "group") Visit(child, around, depth + 1);
      if (name == "clone" || name == "master" || name == "bundle") Visit(child, around ? around : child, depth + 1);
    }
  }
};

// "vm:0" is an instance of the clone of "vm".
std::string WithoutInstance(std::string id) {
  const size_t colon = id.rfind(':');
  if (colon == std::string::npos || colon + 1 == id.size()) return id;
  const bool number = std::all_of(id.begin() + static_cast<ptrdiff_t>(colon) + 1, id.end(),
                                  [](unsigned char c) { return c >= '0' && c <= '9'; });
  if (number) id.resize(colon);
  return id;
}

PacemakerResourceStatus StatusOf(pugi::xml_node element) {
  PacemakerResourceStatus status;
  status.role = element.attribute("role").value();
  status.target_role = element.attribute("target_role").value();
  status.active = IsYes(element.attribute("active"));
  status.managed = IsYes(element.attribute("managed"));
  status.failed = IsYes(element.attribute("failed"));
  status.blocked = IsYes(element.attribute("blocked"));
  status.pending = !element.attribute("pending").empty();
  status.node = element.child("node").attribute("name").value();
  return status;
}

void AddStatuses(pugi::xml_node parent, int depth, PacemakerStatus* status) {
  if (depth > kNestingMax) return;
  for (const pugi::xml_node child : parent.children()) {
    const std::string_view name = child.name();
    if (name == "group" || name == "clone" || name == "bundle" || name == "replica")
      AddStatuses(child, depth + 1, status);
    if (name != "resource" || IsYes(child.attribute("orphaned"))) continue;
    const std::string id = WithoutInstance(child.attribute("id").value());
    if (id.empty()) continue;
    PacemakerResourceStatus found = StatusOf(child);
    const auto [place, inserted] = status->resources.emplace(id, found);
    if (!inserted && (found.active || found.pending) && !place->second.active) place->second = std::move(found);
  }
}

}  // namespace

absl::StatusOr<std::vector<PacemakerPrimitive>> ParseResources(std::string_view xml) {
  pugi::xml_document document;
  RETURN_IF_ERROR(Load(xml, &document));
  const pugi::xml_node resources = document.child("resources");
  if (!resources) return Invalid("there is no element resources");
  Walk walk;
  for (const pugi::xml_node element : resources.children("template")) {
    walk.templates.emplace(element.attribute("id").value(), element);
  }
  walk.Visit(resources, {}, 0);
  return std::move(walk.primitives);
}

absl::StatusOr<PacemakerStatus> ParseStatus(std::string_view xml) {
  pugi::xml_document document;
  RETURN_IF_ERROR(Load(xml, &document));
  pugi::xml_node root = document.child("pacemaker-result");
  if (!root) root = document.child("crm_mon");
  const pugi::xml_node summary = root.child("summary");
  if (!summary) return Invalid("there is no summary of the cluster");
  PacemakerStatus status;
  const pugi::xml_node leader = summary.child("current_dc");
  status.version = leader.attribute("version").value();
  if (IsYes(leader.attribute("present"))) status.leader = leader.attribute("name").value();
  AddStatuses(root.child("resources"), 0, &status);
  return status;
}

absl::StatusOr<DomainIdentity> ParseDomainIdentity(std::string_view xml) {
  pugi::xml_document document;
  RETURN_IF_ERROR(Load(xml, &document));
  const pugi::xml_node domain = document.child("domain");
  DomainIdentity identity{domain.child_value("name"), domain.child_value("uuid")};
  if (identity.name.empty()) return Invalid("the domain has no name");
  std::transform(identity.uuid.begin(), identity.uuid.end(), identity.uuid.begin(), [](unsigned char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : static_cast<char>(c);
  });
  return identity;
}

}  // namespace umbra::cluster

#include "server/rest/openapi.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "server/rest/routes.h"
#include "storage/base/status.h"
#include "umbra/v1/options.pb.h"

namespace umbra::rest {
namespace {

namespace pb = google::protobuf;
using Json = nlohmann::ordered_json;

constexpr int kQueryDepthMax = 4;
constexpr std::string_view kReasonPrefix = "ERROR_REASON_";

// ---- Texts ----

// The comment before a declaration, as running text.
template <typename Descriptor>
std::string CommentOf(const Descriptor& descriptor) {
  pb::SourceLocation location;
  if (!descriptor.GetSourceLocation(&location)) return {};
  std::string text;
  for (const char c : location.leading_comments) {
    const char plain = c == '\n' ? ' ' : c;
    if (plain != ' ' || (!text.empty() && text.back() != ' ')) text.push_back(plain);
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

std::string FirstSentence(const std::string& text) {
  const size_t end = text.find(". ");
  std::string sentence = end == std::string::npos ? text : text.substr(0, end);
  if (!sentence.empty() && sentence.back() == '.') sentence.pop_back();
  return sentence;
}

// "hosts" -> "host", "policies" -> "policy".
std::string Singular(const std::string& plural) {
  if (plural.ends_with("ies")) return plural.substr(0, plural.size() - 3) + "y";
  return plural.ends_with("s") ? plural.substr(0, plural.size() - 1) : plural;
}

std::string LowerFirst(std::string text) {
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

// Without the package: "Job", "Job.State".
template <typename Descriptor>
std::string SchemaName(const Descriptor& type) {
  return type.full_name().substr(type.file()->package().size() + 1);
}

// ---- Paths ----

struct PathParameter {
  std::string name;
  std::string field;  // the variable that it is a part of
};

struct DescribedPath {
  std::string text;  // "/v1/hosts/{host}:drain"
  std::vector<PathParameter> parameters;
};

DescribedPath DescribePath(const PathTemplate& path) {
  DescribedPath described;
  const auto& segments = path.segments();
  for (size_t i = 0; i < segments.size(); ++i) {
    if (segments[i] != "*") {
      described.text += "/" + segments[i];
      continue;
    }
    const std::string name = i == 0 ? "id" : Singular(segments[i - 1]);
    described.text += "/{" + name + "}";
    std::string field;
    for (const auto& variable : path.variables()) {
      if (i >= variable.begin && i < variable.end) field = variable.field;
    }
    described.parameters.push_back({name, field});
  }
  if (!path.verb().empty()) described.text += ":" + path.verb();
  return described;
}

// ---- Schemas ----

bool IsEtagged(const Route& route) {
  const auto has = [](const pb::Descriptor* type) {
    return type != nullptr && type->FindFieldByName("etag") != nullptr;
  };
  return has(route.method->input_type()) || (route.body_field != nullptr && has(route.body_field->message_type()));
}

// Its messages are the bytes of the answer.
bool IsDownload(const Route& route) {
  return route.method->output_type()->full_name() == "umbra.v1.DiskContent";
}

class Describer {
 public:
  Json Reference(const pb::Descriptor& type) {
    if (const Json known = WellKnown(type); !known.is_null()) return known;
    Need(type);
    return {{"$ref", "#/components/schemas/" + SchemaName(type)}};
  }

  // Of one value, whether or not the field is repeated.
  Json Value(const pb::FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case pb::FieldDescriptor::CPPTYPE_INT32:
        return {{"type", "integer"}, {"format", "int32"}};
      case pb::FieldDescriptor::CPPTYPE_UINT32:
        return {{"type", "integer"}, {"format", "uint32"}, {"minimum", 0}};
      case pb::FieldDescriptor::CPPTYPE_INT64:
        return {{"type", "string"}, {"format", "int64"}};
      case pb::FieldDescriptor::CPPTYPE_UINT64:
        return {{"type", "string"}, {"format", "uint64"}};
      case pb::FieldDescriptor::CPPTYPE_DOUBLE:
        return {{"type", "number"}, {"format", "double"}};
      case pb::FieldDescriptor::CPPTYPE_FLOAT:
        return {{"type", "number"}, {"format", "float"}};
      case pb::FieldDescriptor::CPPTYPE_BOOL:
        return {{"type", "boolean"}};
      case pb::FieldDescriptor::CPPTYPE_STRING:
        if (field.type() == pb::FieldDescriptor::TYPE_BYTES) return {{"type", "string"}, {"contentEncoding", "base64"}};
        return {{"type", "string"}};
      case pb::FieldDescriptor::CPPTYPE_ENUM:
        enums_[SchemaName(*field.enum_type())] = field.enum_type();
        return {{"$ref", "#/components/schemas/" + SchemaName(*field.enum_type())}};
      case pb::FieldDescriptor::CPPTYPE_MESSAGE:
        return Reference(*field.message_type());
    }
    return Json::object();
  }

  Json Field(const pb::FieldDescriptor& field) {
    Json schema;
    if (field.is_map()) {
      schema = {{"type", "object"}, {"additionalProperties", Value(*field.message_type()->map_value())}};
    } else if (field.is_repeated()) {
      schema = {{"type", "array"}, {"items", Value(field)}};
    } else {
      schema = Value(field);
    }
    if (const std::string comment = CommentOf(field); !comment.empty()) schema["description"] = comment;
    return schema;
  }

  // Everything that was needed, and what that needs.
  Json Schemas() {
    std::map<std::string, Json> schemas;
    while (!wanted_.empty()) {
      const pb::Descriptor* type = wanted_.back();
      wanted_.pop_back();
      Json schema = {{"type", "object"}};
      if (const std::string comment = CommentOf(*type); !comment.empty()) schema["description"] = comment;
      Json properties = Json::object();
      for (int i = 0; i < type->field_count(); ++i) properties[type->field(i)->json_name()] = Field(*type->field(i));
      schema["properties"] = std::move(properties);
      schemas[SchemaName(*type)] = std::move(schema);
    }
    for (const auto& [name, type] : enums_) schemas[name] = Enum(*type);
    Json sorted = Json::object();
    for (auto& [name, schema] : schemas) sorted[name] = std::move(schema);
    return sorted;
  }

  const std::map<std::string, const pb::Descriptor*>& messages() const { return messages_; }
  const std::map<std::string, const pb::EnumDescriptor*>& enums() const { return enums_; }

 private:
  static Json WellKnown(const pb::Descriptor& type) {
    const std::string& name = type.full_name();
    if (name == "google.protobuf.Timestamp") return {{"type", "string"}, {"format", "date-time"}};
    if (name == "google.protobuf.Duration") {
      return {{"type", "string"}, {"pattern", "^-?[0-9]+(\\.[0-9]{1,9})?s$"}, {"examples", Json::array({"3.5s"})}};
    }
    if (name == "google.protobuf.FieldMask")
      return {{"type", "string"}, {"examples", Json::array({"displayName,labels"})}};
    if (name == "google.protobuf.Empty") return {{"type", "object"}};
    return nullptr;
  }

  static Json Enum(const pb::EnumDescriptor& type) {
    Json schema = {{"type", "string"}};
    std::string description = CommentOf(type);
    Json values = Json::array();
    for (int i = 0; i < type.value_count(); ++i) {
      values.push_back(type.value(i)->name());
      description += fmt::format("\n- {}: {}", type.value(i)->name(), CommentOf(*type.value(i)));
    }
    schema["enum"] = std::move(values);
    schema["description"] = std::move(description);
    return schema;
  }

  void Need(const pb::Descriptor& type) {
    if (messages_.emplace(SchemaName(type), &type).second) wanted_.push_back(&type);
  }

  std::vector<const pb::Descriptor*> wanted_;
  std::map<std::string, const pb::Descriptor*> messages_;
  std::map<std::string, const pb::EnumDescriptor*> enums_;
};

// ---- Operations ----

struct Parameter {
  std::string name;
  std::string in;  // "path", "query" or "header"
  std::string description;
  Json schema;
};

void AddQuery(Describer& describer, const Route& route, const pb::Descriptor& type, const std::string& prefix,
              int depth, std::vector<Parameter>& parameters) {
  for (int i = 0; i < type.field_count(); ++i) {
    const pb::FieldDescriptor& field = *type.field(i);
    const auto& variables = route.path.variables();
    const bool in_path = depth == 0 && std::any_of(variables.begin(), variables.end(), [&](const auto& variable) {
                           return variable.field == field.name();
                         });
    if (in_path || (depth == 0 && &field == route.body_field) || field.is_map()) continue;
    const pb::Descriptor* message = field.message_type();
    if (message != nullptr && message->file()->package() != "google.protobuf") {
      if (!field.is_repeated() && depth + 1 < kQueryDepthMax) {
        AddQuery(describer, route, *message, prefix + field.json_name() + ".", depth + 1, parameters);
      }
      continue;
    }
    Json schema = describer.Field(field);
    schema.erase("description");
    parameters.push_back({prefix + field.json_name(), "query", CommentOf(field), std::move(schema)});
  }
}

std::vector<Parameter> ParametersOf(Describer& describer, const Route& route, const DescribedPath& path) {
  std::vector<Parameter> parameters;
  for (const PathParameter& parameter : path.parameters) {
    parameters.push_back({parameter.name, "path", "", {{"type", "string"}}});
  }
  if (!route.whole_body) AddQuery(describer, route, *route.method->input_type(), "", 0, parameters);
  if (IsEtagged(route)) {
    parameters.push_back(
        {"If-Match", "header", "The etag that the resource must still have; else 412.", {{"type", "string"}}});
  }
  if (IsDownload(route)) parameters.push_back({"Range", "header", "One range of bytes: 206.", {{"type", "string"}}});
  if (route.method->server_streaming() && route.method->input_type()->FindFieldByName("after_sequence") != nullptr) {
    parameters.push_back({"Last-Event-ID", "header", "Goes on after this event.", {{"type", "string"}}});
  }
  return parameters;
}

// Who may call it, as umbra/v1/options.proto says.
Json AccessOf(const pb::MethodDescriptor& method) {
  const v1::Access& access = method.options().GetExtension(v1::access);
  if (access.anyone()) return {{"anyone", true}};
  if (access.signed_in()) return {{"signedIn", true}};
  return {{"permission", access.permission()}, {"everything", access.everything()}};
}

std::string AccessText(const Json& access) {
  if (access.contains("anyone")) return "everybody";
  if (access.contains("signedIn")) return "everybody who is signed in";
  return access["permission"].get<std::string>() + (access["everything"].get<bool>() ? ", not limited to a part" : "");
}

Json Operation(Describer& describer, const Route& route, const std::vector<Parameter>& parameters) {
  const std::string comment = CommentOf(*route.method);
  Json operation;
  operation["operationId"] = LowerFirst(route.method->name());
  operation["tags"] = Json::array({route.method->service()->name()});
  operation["summary"] = FirstSentence(comment);
  operation["description"] = comment;
  operation["x-umbra-access"] = AccessOf(*route.method);
  if (route.method->options().GetExtension(v1::access).anyone()) operation["security"] = Json::array();
  if (!parameters.empty()) operation["parameters"] = Json::array();
  for (const Parameter& parameter : parameters) {
    Json json = {{"name", parameter.name}, {"in", parameter.in}};
    if (!parameter.description.empty()) json["description"] = parameter.description;
    if (parameter.in == "path") json["required"] = true;
    json["schema"] = parameter.schema;
    operation["parameters"].push_back(std::move(json));
  }
  if (route.whole_body || route.body_field != nullptr) {
    const pb::Descriptor& body = route.whole_body ? *route.method->input_type() : *route.body_field->message_type();
    operation["requestBody"] = {{"required", !route.whole_body},
                                {"content", {{"application/json", {{"schema", describer.Reference(body)}}}}}};
  }
  const bool streams = route.method->server_streaming();
  const bool downloads = IsDownload(route);
  Json content = {{streams ? "text/event-stream" : "application/json", Json::object()}};
  if (downloads) {
    content = {{"application/octet-stream", {{"schema", {{"type", "string"}, {"format", "binary"}}}}}};
  } else {
    content.begin().value()["schema"] = describer.Reference(*route.method->output_type());
  }
  operation["responses"] = {{"200",
                             {{"description", downloads ? "The bytes."
                                              : streams ? "One event for each message."
                                                        : "OK"},
                              {"content", content}}},
                            {"default", {{"$ref", "#/components/responses/Problem"}}}};
  return operation;
}

Json ProblemSchema() {
  const auto text = [](const char* description) { return Json{{"type", "string"}, {"description", description}}; };
  Json properties;
  properties["type"] = text("urn:umbra:error:REASON, or about:blank.");
  properties["title"] = text("The phrase of the status.");
  properties["status"] = {{"type", "integer"}, {"description", "The status of the answer."}};
  properties["detail"] = text("What is wrong, for people; its words may change.");
  properties["reason"] = text("What is wrong, for programs; it never changes its meaning.");
  properties["action"] = text("What it means, and what to do.");
  properties["retryAfterSeconds"] = {
      {"type", "integer"},
      {"description", "How long to wait before the next try; absent where the error doesn't know."}};
  properties["requestId"] = text("Names the request in the daemon's log.");
  return {{"type", "object"},
          {"required", Json::array({"type", "title", "status", "detail", "requestId"})},
          {"properties", std::move(properties)}};
}

// ---- The page for people ----

std::string Escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

std::string LinkTo(const Json& schema) {
  if (schema.contains("$ref")) {
    const std::string name = schema["$ref"].get<std::string>().substr(sizeof("#/components/schemas/") - 1);
    return fmt::format("<a href=\"#{0}\">{0}</a>", Escape(name));
  }
  if (schema.contains("items")) return "list of " + LinkTo(schema["items"]);
  if (schema.contains("additionalProperties")) return "map to " + LinkTo(schema["additionalProperties"]);
  const std::string type = schema.value("type", "object");
  return schema.contains("format") ? fmt::format("{} <small>{}</small>", type, schema["format"].get<std::string>())
                                   : type;
}

std::string ParameterTable(const Json& operation) {
  if (!operation.contains("parameters")) return {};
  std::string html = "<table><tr><th>Parameter</th><th>In</th><th>Type</th><th></th></tr>\n";
  for (const Json& parameter : operation["parameters"]) {
    html += fmt::format("<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                        Escape(parameter["name"].get<std::string>()), parameter["in"].get<std::string>(),
                        LinkTo(parameter["schema"]), Escape(parameter.value("description", "")));
  }
  return html + "</table>\n";
}

std::string OperationHtml(const std::string& path, std::string verb, const Json& operation) {
  std::transform(verb.begin(), verb.end(), verb.begin(), [](char c) { return static_cast<char>(c - 'a' + 'A'); });
  std::string html =
      fmt::format("<details id=\"{}\"><summary><b>{}</b> <code>{}</code> {}</summary>\n<p>{}</p>\n",
                  operation["operationId"].get<std::string>(), verb, Escape(path),
                  Escape(operation["summary"].get<std::string>()), Escape(operation["description"].get<std::string>()));
  html += fmt::format("<p>Who may: {}</p>\n", Escape(AccessText(operation["x-umbra-access"])));
  html += ParameterTable(operation);
  if (operation.contains("requestBody")) {
    html += fmt::format("<p>Body: {}</p>\n", LinkTo(operation["requestBody"]["content"]["application/json"]["schema"]));
  }
  const Json& content = operation["responses"]["200"]["content"];
  return html + fmt::format("<p>Answer: {} <small>{}</small></p></details>\n",
                            LinkTo(content.begin().value()["schema"]), content.begin().key());
}

std::string SchemaHtml(const std::string& name, const Json& schema) {
  std::string html = fmt::format("<details id=\"{0}\"><summary><code>{0}</code></summary>\n", Escape(name));
  std::string description = Escape(schema.value("description", ""));
  for (size_t at; (at = description.find('\n')) != std::string::npos;) description.replace(at, 1, "<br>");
  html += fmt::format("<p>{}</p>\n", description);
  if (schema.contains("properties")) {
    html += "<table><tr><th>Field</th><th>Type</th><th></th></tr>\n";
    for (const auto& [field, value] : schema["properties"].items()) {
      html += fmt::format("<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>\n", Escape(field), LinkTo(value),
                          Escape(value.value("description", "")));
    }
    html += "</table>\n";
  }
  return html + "</details>\n";
}

std::string ReferencePage(const Json& openapi, const std::vector<Reason>& reasons) {
  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Umbra API</title>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<link rel=\"stylesheet\" href=\"/docs.css\"></head><body><main>\n<h1>Umbra API</h1>\n"
      "<p>Every call of the product. The same for programs: <a href=\"/openapi.json\">openapi.json</a>. "
      "Go to: <a href=\"#types\">types</a>, <a href=\"#reasons\">reasons of errors</a>.</p>\n";
  for (const Json& tag : openapi["tags"]) {
    const std::string name = tag["name"].get<std::string>();
    html += fmt::format("<h2>{}</h2>\n<p>{}</p>\n", Escape(name), Escape(tag["description"].get<std::string>()));
    for (const auto& [path, item] : openapi["paths"].items()) {
      for (const auto& [verb, operation] : item.items()) {
        if (operation["tags"][0] == name) html += OperationHtml(path, verb, operation);
      }
    }
  }
  html += "<h2 id=\"types\">Types</h2>\n";
  for (const auto& [name, schema] : openapi["components"]["schemas"].items()) html += SchemaHtml(name, schema);
  html +=
      "<h2 id=\"reasons\">Reasons of errors</h2>\n<table><tr><th>Reason</th><th>What it means, and what to "
      "do</th></tr>\n";
  for (const Reason& reason : reasons) {
    html += fmt::format("<tr><td><code>{}</code></td><td>{}</td></tr>\n", Escape(reason.name), Escape(reason.comment));
  }
  return html + "</table>\n</main></body></html>\n";
}

std::vector<Reason> ReasonsOf(const pb::DescriptorPool& pool) {
  std::vector<Reason> reasons;
  const pb::EnumDescriptor* type = pool.FindEnumTypeByName("umbra.v1.ErrorReason");
  for (int i = 0; type != nullptr && i < type->value_count(); ++i) {
    const std::string& name = type->value(i)->name();
    if (type->value(i)->number() == 0 || !name.starts_with(kReasonPrefix)) continue;
    reasons.push_back({name.substr(kReasonPrefix.size()), CommentOf(*type->value(i))});
  }
  return reasons;
}

Json Skeleton(const std::string& version) {
  Json openapi;
  openapi["openapi"] = "3.1.0";
  openapi["info"] = {{"title", "Umbra"},
                     {"version", version},
                     {"summary", "Backup of virtual machines"},
                     {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}};
  openapi["servers"] = Json::array({{{"url", "/"}}});
  openapi["security"] = Json::array({{{"token", Json::array()}}, {{"session", Json::array()}}});
  openapi["tags"] = Json::array();
  openapi["paths"] = Json::object();
  return openapi;
}

}  // namespace

absl::StatusOr<ApiDescription> DescribeApi(const pb::DescriptorPool& pool,
                                           const std::vector<const pb::FileDescriptor*>& files,
                                           const std::string& version) {
  ApiDescription description;
  Json openapi = Skeleton(version);
  for (const pb::FileDescriptor* file : files) {
    const std::string stem = file->name().substr(0, file->name().rfind('.'));
    if (file->message_type_count() > 0)
      description.messages.emplace_back(file->message_type(0)->name(), stem + ".pb.h");
    for (int i = 0; i < file->service_count(); ++i) {
      const pb::ServiceDescriptor& service = *file->service(i);
      description.services.push_back(service.full_name());
      openapi["tags"].push_back({{"name", service.name()}, {"description", CommentOf(service)}});
    }
  }
  const std::vector<std::string_view> names(description.services.begin(), description.services.end());
  ASSIGN_OR_RETURN(const RouteTable routes, RouteTable::Make(pool, names));
  Describer describer;
  for (const Route& route : routes.all()) {
    const DescribedPath path = DescribePath(route.path);
    std::string verb = route.verb;
    std::transform(verb.begin(), verb.end(), verb.begin(), [](char c) { return static_cast<char>(c - 'A' + 'a'); });
    openapi["paths"][path.text][verb] = Operation(describer, route, ParametersOf(describer, route, path));
  }
  Json schemas = describer.Schemas();
  schemas["Problem"] = ProblemSchema();
  openapi["components"]["schemas"] = std::move(schemas);
  openapi["components"]["responses"]["Problem"] = {
      {"description", "What went wrong."},
      {"content", {{"application/problem+json", {{"schema", {{"$ref", "#/components/schemas/Problem"}}}}}}}};
  openapi["components"]["securitySchemes"] = {
      {"token", {{"type", "http"}, {"scheme", "bearer"}}},
      {"session", {{"type", "apiKey"}, {"in", "cookie"}, {"name", "__Host-umbra-session"}}}};
  description.openapi_json = openapi.dump(1, ' ') + "\n";
  description.reasons = ReasonsOf(pool);
  description.reference_html = ReferencePage(openapi, description.reasons);
  return description;
}

}  // namespace umbra::rest

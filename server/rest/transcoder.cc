#include "server/rest/transcoder.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/rest/json_scan.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::rest {
namespace {

namespace pb = google::protobuf;
using base::Invalid;

constexpr size_t kQuotedTextMax = 200;

std::string_view Shown(std::string_view text) {
  return text.substr(0, kQuotedTextMax);
}

const pb::FieldDescriptor* FindField(const pb::Descriptor& type, std::string_view name) {
  for (int i = 0; i < type.field_count(); ++i) {
    const pb::FieldDescriptor* field = type.field(i);
    if (field->json_name() == name || field->name() == name) return field;
  }
  return nullptr;
}

template <typename Number>
std::optional<Number> ParseNumber(const std::string& text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

template <typename Number, typename Set>
bool SetNumber(const std::string& text, Set set) {
  const auto number = ParseNumber<Number>(text);
  if (number) set(*number);
  return number.has_value();
}

bool SetEnum(const pb::FieldDescriptor& field, const std::string& text, const auto& set) {
  const pb::EnumValueDescriptor* value = field.enum_type()->FindValueByName(text);
  if (value == nullptr) {
    const auto number = ParseNumber<int>(text);
    value = number ? field.enum_type()->FindValueByNumber(*number) : nullptr;
  }
  if (value != nullptr) set(value->number());
  return value != nullptr;
}

// Timestamps, durations, field masks and wrappers: those that are a text or a number in JSON.
bool SetMessage(pb::Message& message, const std::string& text) {
  if (message.GetDescriptor()->file()->package() != "google.protobuf") return false;
  constexpr auto kReplaceBadText = nlohmann::json::error_handler_t::replace;
  const std::string json = nlohmann::json(text).dump(-1, ' ', false, kReplaceBadText);
  return pb::util::JsonStringToMessage(json, &message).ok();
}

// Either sets a single field or adds to a repeated one.
bool SetOne(pb::Message& message, const pb::FieldDescriptor& field, const std::string& text) {
  const pb::Reflection& r = *message.GetReflection();
  const bool many = field.is_repeated();
  const auto put = [&](auto set, auto add) {
    return [&message, &field, &r, many, set, add](auto value) {
      many ? (r.*add)(&message, &field, value) : (r.*set)(&message, &field, value);
    };
  };
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_INT32:
      return SetNumber<int32_t>(text, put(&pb::Reflection::SetInt32, &pb::Reflection::AddInt32));
    case pb::FieldDescriptor::CPPTYPE_INT64:
      return SetNumber<int64_t>(text, put(&pb::Reflection::SetInt64, &pb::Reflection::AddInt64));
    case pb::FieldDescriptor::CPPTYPE_UINT32:
      return SetNumber<uint32_t>(text, put(&pb::Reflection::SetUInt32, &pb::Reflection::AddUInt32));
    case pb::FieldDescriptor::CPPTYPE_UINT64:
      return SetNumber<uint64_t>(text, put(&pb::Reflection::SetUInt64, &pb::Reflection::AddUInt64));
    case pb::FieldDescriptor::CPPTYPE_DOUBLE:
      return SetNumber<double>(text, put(&pb::Reflection::SetDouble, &pb::Reflection::AddDouble));
    case pb::FieldDescriptor::CPPTYPE_FLOAT:
      return SetNumber<float>(text, put(&pb::Reflection::SetFloat, &pb::Reflection::AddFloat));
    case pb::FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") return false;
      put(&pb::Reflection::SetBool, &pb::Reflection::AddBool)(text == "true");
      return true;
    case pb::FieldDescriptor::CPPTYPE_ENUM:
      return SetEnum(field, text, put(&pb::Reflection::SetEnumValue, &pb::Reflection::AddEnumValue));
    case pb::FieldDescriptor::CPPTYPE_STRING:
      if (field.type() == pb::FieldDescriptor::TYPE_BYTES) return false;  // no parameter of ours is
      many ? r.AddString(&message, &field, text) : r.SetString(&message, &field, text);
      return true;
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
      return SetMessage(many ? *r.AddMessage(&message, &field) : *r.MutableMessage(&message, &field), text);
  }
  return false;
}

// UTF-8 as protobuf wants it: without, SetString would make a message that can't be printed.
bool IsUtf8(std::string_view text) {
  constexpr auto kStrict = nlohmann::json::error_handler_t::strict;
  try {
    (void)nlohmann::json(std::string(text)).dump(-1, ' ', false, kStrict);
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

absl::Status ReadBody(pb::Message& message, std::string_view body) {
  if (body.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(ScanJson(body));
  const auto parsed = pb::util::JsonStringToMessage(pb::StringPiece(body.data(), body.size()), &message);
  if (parsed.ok()) return absl::OkStatus();
  const std::string text = parsed.message().ToString();
  return Invalid("body: {}", Shown(text));
}

absl::Status SetIfMatch(pb::Message& message, const Route& route, const std::string& etag) {
  const auto set = [&etag](pb::Message& in) {
    const pb::FieldDescriptor* field = in.GetDescriptor()->FindFieldByName("etag");
    if (field == nullptr || field->cpp_type() != pb::FieldDescriptor::CPPTYPE_STRING || field->is_repeated())
      return false;
    in.GetReflection()->SetString(&in, field, etag);
    return true;
  };
  if (set(message)) return absl::OkStatus();
  if (route.body_field != nullptr && set(*message.GetReflection()->MutableMessage(&message, route.body_field))) {
    return absl::OkStatus();
  }
  return Invalid("If-Match: {} {} can't be made conditional", route.verb, route.path_text);
}

void SetLastEvent(pb::Message& message, const std::string& id) {
  const pb::FieldDescriptor* field = message.GetDescriptor()->FindFieldByName("after_sequence");
  const auto number = ParseNumber<int64_t>(id);
  if (field == nullptr || field->cpp_type() != pb::FieldDescriptor::CPPTYPE_INT64 || !number || *number < 0) return;
  message.GetReflection()->SetInt64(&message, field, *number);
}

}  // namespace

absl::Status SetField(pb::Message& message, std::string_view path, const std::string& text) {
  if (!IsUtf8(text)) return Invalid("{}: not UTF-8", IsUtf8(path) ? Shown(path) : "query");
  pb::Message* at = &message;
  std::string_view rest = path;
  for (;;) {
    const size_t dot = rest.find('.');
    const pb::FieldDescriptor* field = FindField(*at->GetDescriptor(), rest.substr(0, dot));
    if (field == nullptr || field->is_map()) return Invalid("{}: no such field", IsUtf8(path) ? Shown(path) : "query");
    if (dot == std::string_view::npos) {
      if (!SetOne(*at, *field, text)) return Invalid("{}: '{}' is no value of this field", Shown(path), Shown(text));
      return absl::OkStatus();
    }
    if (field->message_type() == nullptr || field->is_repeated()) return Invalid("{}: no such field", Shown(path));
    at = at->GetReflection()->MutableMessage(at, field);
    rest.remove_prefix(dot + 1);
  }
}

std::unique_ptr<pb::Message> NewMessage(const pb::Descriptor& type) {
  return std::unique_ptr<pb::Message>(pb::MessageFactory::generated_factory()->GetPrototype(&type)->New());
}

absl::StatusOr<std::unique_ptr<pb::Message>> MakeRequest(const Route& route, const CallInput& input) {
  std::unique_ptr<pb::Message> message = NewMessage(*route.method->input_type());
  if (route.whole_body) {
    RETURN_IF_ERROR(ReadBody(*message, input.body));
  } else if (route.body_field != nullptr) {
    RETURN_IF_ERROR(ReadBody(*message->GetReflection()->MutableMessage(message.get(), route.body_field), input.body));
  } else if (!input.body.empty()) {
    return Invalid("body: {} {} takes none", route.verb, route.path_text);
  }
  ASSIGN_OR_RETURN(const auto parameters, ParseQuery(input.query));
  if (route.whole_body && !parameters.empty()) return Invalid("query: everything of this request goes into its body");
  for (const QueryParameter& parameter : parameters) {
    RETURN_IF_ERROR(SetField(*message, parameter.name, parameter.value));
  }
  for (const PathValue& value : input.path_values) RETURN_IF_ERROR(SetField(*message, value.field, value.value));
  if (input.if_match) RETURN_IF_ERROR(SetIfMatch(*message, route, *input.if_match));
  if (input.last_event_id) SetLastEvent(*message, *input.last_event_id);
  return message;
}

absl::StatusOr<std::string> ToJson(const pb::Message& message) {
  pb::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto printed = pb::util::MessageToJsonString(message, &json, options);
  if (printed.ok()) return json;
  return base::Error(absl::StatusCode::kInternal, "INTERNAL", "{} can't be printed", message.GetTypeName());
}

std::string TextField(const pb::Message& message, const std::string& name) {
  const pb::FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->cpp_type() != pb::FieldDescriptor::CPPTYPE_STRING || field->is_repeated()) return {};
  return message.GetReflection()->GetString(message, field);
}

std::optional<int64_t> SequenceOf(const pb::Message& message) {
  const pb::FieldDescriptor* field = message.GetDescriptor()->FindFieldByName("sequence");
  if (field == nullptr || field->cpp_type() != pb::FieldDescriptor::CPPTYPE_INT64 || field->is_repeated()) return {};
  const int64_t sequence = message.GetReflection()->GetInt64(message, field);
  return sequence == 0 ? std::nullopt : std::optional(sequence);
}

}  // namespace umbra::rest

#include "agent/vss/xml.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <sstream>

#include "agent/vss/errors.h"
#include "storage/base/status.h"

namespace umbra::vss::xml {
namespace {

// Also what only matters inside of elements that aren't known: comments, instructions, white space.
constexpr unsigned kParseAll = pugi::parse_default | pugi::parse_ws_pcdata | pugi::parse_comments | pugi::parse_pi;

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string EncodeBase64(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) text += i + k > bytes.size() ? '=' : kBase64[group >> (18 - 6 * k) & 63];
  }
  return text;
}

std::optional<std::string> DecodeBase64(std::string_view text) {
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const size_t value = kBase64.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 255);
  }
  return bytes;
}

// Length of the UTF-8 sequence at the beginning of `text`; 0 when there is none (RFC 3629: no overlong form, no
// surrogate, nothing above U+10FFFF).
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0u; };
  const uint32_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F)) return 0;
  if ((first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F)) return 0;
  return length;
}

bool IsUtf8(std::string_view text) {
  for (size_t length = 0; !text.empty(); text.remove_prefix(length)) {
    length = SequenceLength(text);
    if (length == 0) return false;
  }
  return true;
}

// pugixml takes any bytes for names and values, but can't print them all again.
bool IsUtf8Node(pugi::xml_node node) {
  if (!IsUtf8(node.name()) || !IsUtf8(node.value())) return false;
  const auto attributes = node.attributes();
  return std::all_of(attributes.begin(), attributes.end(), [](pugi::xml_attribute attribute) {
    return IsUtf8(attribute.name()) && IsUtf8(attribute.value());
  });
}

// Looks at every node, without a stack that the document could make overflow.
absl::Status CheckTree(pugi::xml_node root) {
  int depth = 0;
  for (pugi::xml_node node = root; node;) {
    if (!IsUtf8Node(node)) return Error(Code::kCorruptXmlDocument, "the document holds bytes that are no UTF-8 text");
    if (depth > kMaxDepth) return Error(Code::kCorruptXmlDocument, "nested deeper than {} levels", kMaxDepth);
    if (pugi::xml_node child = node.first_child()) {
      node = child;
      ++depth;
      continue;
    }
    while (node != root && !node.next_sibling()) {
      node = node.parent();
      --depth;
    }
    node = node == root ? pugi::xml_node() : node.next_sibling();
  }
  return absl::OkStatus();
}

// Makes the printer add no white space inside of `element`, by texts without content between its children.
void KeepAsItIs(pugi::xml_node element) {
  if (!element.first_child()) return;
  for (pugi::xml_node child = element.first_child(); child; child = child.next_sibling()) {
    if (child.type() == pugi::node_pcdata || child.type() == pugi::node_cdata) continue;
    KeepAsItIs(child);
    element.insert_child_before(pugi::node_pcdata, child);
  }
  element.append_child(pugi::node_pcdata);
}

std::string Serialise(pugi::xml_node node) {
  std::ostringstream out;
  node.print(out, "", pugi::format_raw);
  return out.str();
}

}  // namespace

absl::Status Parse(std::string_view text, std::string_view root, std::string_view root_namespace,
                   pugi::xml_document* document) {
  if (text.size() > kMaxDocumentBytes) {
    return Error(Code::kCorruptXmlDocument, "the document has {} bytes, at most {} are read", text.size(),
                 kMaxDocumentBytes);
  }
  const auto result = document->load_buffer(text.data(), text.size(), kParseAll | pugi::parse_doctype);
  if (!result) {
    return Error(Code::kCorruptXmlDocument, "byte {}: {}", result.offset, result.description());
  }
  int root_count = 0;
  for (pugi::xml_node node : document->children()) {
    if (node.type() == pugi::node_doctype) return Error(Code::kCorruptXmlDocument, "a DOCTYPE is not accepted");
    if (node.type() == pugi::node_element) ++root_count;
  }
  if (root_count > 1) return Error(Code::kCorruptXmlDocument, "the document has {} roots", root_count);
  RETURN_IF_ERROR(CheckTree(*document));
  const pugi::xml_node element = document->document_element();
  if (element.name() != root) {
    return Error(Code::kInvalidXmlDocument, "the root is <{}>, expected <{}>", element.name(), root);
  }
  if (element.attribute("xmlns").value() != root_namespace) {
    return Error(Code::kInvalidXmlDocument, "<{}> has the namespace \"{}\", expected \"{}\"", root,
                 element.attribute("xmlns").value(), root_namespace);
  }
  return absl::OkStatus();
}

std::string Print(const pugi::xml_document& document) {
  std::ostringstream out;
  document.save(out, "  ", pugi::format_indent, pugi::encoding_utf8);
  return out.str();
}

std::string Reader::Text(const char* name, std::string_view otherwise) {
  known_attributes_.emplace_back(name);
  const pugi::xml_attribute attribute = node_.attribute(name);
  return attribute ? attribute.value() : std::string(otherwise);
}

std::string Reader::Required(const char* name) {
  std::string text = Text(name);
  if (text.empty()) Fail(name, "");
  return text;
}

bool Reader::YesNo(const char* name, bool otherwise) {
  const std::string text = Text(name);
  if (!text.empty() && text != "yes" && text != "no") Fail(name, text);
  return text.empty() ? otherwise : text == "yes";
}

uint64_t Reader::Number64(const char* name, uint64_t otherwise) {
  const std::string text = Text(name);
  if (text.empty()) return otherwise;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) Fail(name, text);
  return value;
}

uint32_t Reader::Number(const char* name, uint32_t otherwise) {
  const uint64_t value = Number64(name, otherwise);
  if (value > std::numeric_limits<uint32_t>::max()) Fail(name, std::to_string(value));
  return static_cast<uint32_t>(value);
}

Guid Reader::Id(const char* name, bool required) {
  const std::string text = required ? Required(name) : Text(name);
  const auto guid = Guid::Parse(text);
  if (!guid.has_value() && !text.empty()) Fail(name, text);
  return guid.value_or(Guid());
}

std::string Reader::Base64(const char* name) {
  const std::string text = Text(name);
  auto bytes = DecodeBase64(text);
  if (!bytes.has_value()) Fail(name, text);
  return std::move(bytes).value_or("");
}

pugi::xml_node Reader::Child(std::string_view name) {
  known_elements_.emplace_back(name);
  return node_.child(known_elements_.back().c_str());
}

void Reader::Merge(const absl::Status& status) {
  if (status_.ok()) status_ = status;
}

void Reader::Fail(std::string_view attribute, std::string_view value) {
  Merge(value.empty()
            ? Error(Code::kInvalidXmlDocument, "<{}> lacks {}", node_.name(), attribute)
            : Error(Code::kInvalidXmlDocument, "<{} {}=\"{}\">: wrong value", node_.name(), attribute, value));
}

absl::Status Reader::Finish(UnknownXml* unknown) {
  for (const pugi::xml_attribute attribute : node_.attributes()) {
    const std::string name = attribute.name();
    const bool ours = name == "xmlns:umbra" && attribute.value() == std::string_view(kOurNamespace);
    if (name == "xmlns" || ours) continue;  // the printer writes it
    if (std::find(known_attributes_.begin(), known_attributes_.end(), name) == known_attributes_.end()) {
      unknown->attributes.emplace_back(name, attribute.value());
    }
  }
  for (const pugi::xml_node child : node_.children()) {
    if (child.type() == pugi::node_element &&
        std::find(known_elements_.begin(), known_elements_.end(), child.name()) == known_elements_.end()) {
      unknown->elements.push_back(Serialise(child));
    }
  }
  return status_;
}

void Set(pugi::xml_node node, const char* name, std::string_view value) {
  node.append_attribute(name).set_value(std::string(value).c_str());
}

void SetUnlessEmpty(pugi::xml_node node, const char* name, std::string_view value) {
  if (!value.empty()) Set(node, name, value);
}

void SetYesNo(pugi::xml_node node, const char* name, bool value) {
  Set(node, name, value ? "yes" : "no");
}

void SetNumber(pugi::xml_node node, const char* name, uint64_t value) {
  Set(node, name, std::to_string(value));
}

void DeclareOurs(pugi::xml_node node) {
  if (!node.attribute("xmlns:umbra")) Set(node, "xmlns:umbra", kOurNamespace);
}

void SetBase64UnlessEmpty(pugi::xml_node node, const char* name, std::string_view bytes) {
  SetUnlessEmpty(node, name, EncodeBase64(bytes));
}

void AppendUnknown(pugi::xml_node node, const UnknownXml& unknown) {
  for (const auto& [name, value] : unknown.attributes) Set(node, name.c_str(), value);
  for (const std::string& element : unknown.elements) {
    node.append_buffer(element.data(), element.size(), kParseAll);
    KeepAsItIs(node.last_child());
  }
}

}  // namespace umbra::vss::xml

// What both documents share: strict parsing, typed attributes, keeping what isn't known. Only for agent/vss.
#ifndef UMBRA_AGENT_VSS_XML_H_
#define UMBRA_AGENT_VSS_XML_H_

#include <cstdint>
#include <initializer_list>
#include <pugixml.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "agent/vss/types.h"
#include "agent/vss/writer_metadata.h"

namespace umbra::vss::xml {

// For everything whose form in Microsoft's documents isn't known. Its prefix in our documents is always "umbra".
inline constexpr char kOurNamespace[] = "urn:umbra:vss:1";

// Real documents have five levels.
inline constexpr int kMaxDepth = 64;

// One name of an enumeration in the documents.
template <typename Enum>
struct EnumName {
  Enum value;
  std::string_view name;
};

// Parses `text` into `document` and checks the root's name and namespace.
// kCorruptXmlDocument: not well-formed, a DOCTYPE (so no entity of a stranger is ever read), larger than
// kMaxDocumentBytes, or nested deeper than kMaxDepth. kInvalidXmlDocument: another root.
absl::Status Parse(std::string_view text, std::string_view root, std::string_view root_namespace,
                   pugi::xml_document* document);

std::string Print(const pugi::xml_document& document);

// Reads the attributes and children of one element. What was never asked for is unknown, and kept. Errors stick: the
// first one is returned by Finish, the getters give defaults after it.
class Reader {
 public:
  explicit Reader(pugi::xml_node node) : node_(node) {}

  std::string Text(const char* name, std::string_view otherwise = "");
  std::string Required(const char* name);
  bool YesNo(const char* name, bool otherwise);
  uint32_t Number(const char* name, uint32_t otherwise);
  uint64_t Number64(const char* name, uint64_t otherwise);
  Guid Id(const char* name, bool required);
  std::string Base64(const char* name);
  template <typename Enum, size_t N>
  Enum Choice(const char* name, const EnumName<Enum> (&names)[N], Enum otherwise) {
    const std::string text = Text(name);
    if (text.empty()) return otherwise;
    for (const auto& [value, known] : names) {
      if (known == text) return value;
    }
    Fail(name, text);
    return otherwise;
  }

  pugi::xml_node node() const { return node_; }
  // First child element of this name; it counts as known.
  pugi::xml_node Child(std::string_view name);
  // Every child element of this name in turn; they count as known.
  template <typename Each>
  void Children(std::string_view name, Each each) {
    known_elements_.emplace_back(name);
    for (pugi::xml_node child : node_.children(known_elements_.back().c_str())) each(child);
  }

  // Takes over an error of a reader below.
  void Merge(const absl::Status& status);
  void Fail(std::string_view attribute, std::string_view value);
  absl::Status Finish(UnknownXml* unknown);

 private:
  pugi::xml_node node_;
  std::vector<std::string> known_attributes_;
  std::vector<std::string> known_elements_;
  absl::Status status_;
};

// Writers of attributes; empty or default values are left out where the name says so.
void Set(pugi::xml_node node, const char* name, std::string_view value);
void SetUnlessEmpty(pugi::xml_node node, const char* name, std::string_view value);
void SetYesNo(pugi::xml_node node, const char* name, bool value);
void SetNumber(pugi::xml_node node, const char* name, uint64_t value);
// Makes `node` one that may have attributes and children of our namespace.
void DeclareOurs(pugi::xml_node node);
void SetBase64UnlessEmpty(pugi::xml_node node, const char* name, std::string_view bytes);
template <typename Enum, size_t N>
std::string_view EnumText(const EnumName<Enum> (&names)[N], Enum value) {
  for (const auto& [known, name] : names) {
    if (known == value) return name;
  }
  return "";
}

// Puts back what Reader::Finish kept.
void AppendUnknown(pugi::xml_node node, const UnknownXml& unknown);

}  // namespace umbra::vss::xml

#endif  // UMBRA_AGENT_VSS_XML_H_

// Data on standard output, talk on standard error. With --json every resource is one JSON object on a line of its own.
#ifndef UMBRA_SERVER_CLI_OUTPUT_H_
#define UMBRA_SERVER_CLI_OUTPUT_H_

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/message.h>
#include <google/protobuf/timestamp.pb.h>

#include <string>
#include <string_view>
#include <vector>

namespace umbra::cli {

// A table that is as wide as its content.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void Print() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

class Output {
 public:
  explicit Output(bool json) : json_(json) {}

  bool json() const { return json_; }
  // One line of JSON, field names as in the protos' JSON mapping.
  void Json(const google::protobuf::Message& message) const;
  // "Label:   value" lines for one resource.
  void Fields(const std::vector<std::pair<std::string, std::string>>& fields) const;

 private:
  const bool json_;
};

// A word for an enum value: its name without the enum's prefix, in lower case with dashes.
std::string EnumText(std::string_view name, std::string_view prefix);

// Local time, "2026-01-31 22:00:05"; "-" when absent.
std::string TimeText(bool present, const google::protobuf::Timestamp& time);
std::string DurationText(const google::protobuf::Duration& duration);
std::string JoinText(const std::vector<std::string>& parts, std::string_view separator);
// The part after the last slash.
std::string LastSegment(const std::string& name);
// The first eight characters of an id: enough to tell and to type.
std::string ShortId(const std::string& name);

}  // namespace umbra::cli

#endif  // UMBRA_SERVER_CLI_OUTPUT_H_

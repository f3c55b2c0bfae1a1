#include "server/policies/expression.h"

#include <fnmatch.h>

#include <utility>

#include "storage/base/status.h"
#include "storage/filetree/subject.h"

namespace umbra::policies {
namespace {

// Parentheses and "not" within each other: more is no selection that a person reads.
constexpr int kDepthMax = 64;

bool IsBlank(char c) {
  return c == ' ' || c == '\t' || c == '\n';
}

char Lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool IsFieldChar(char c) {
  const char lower = Lower(c);
  return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '/' || c == '-';
}

constexpr std::string_view kLabelPrefix = "label.";

bool Fits(const std::string& pattern, const std::string& text) {
  return fnmatch(pattern.c_str(), text.c_str(), FNM_CASEFOLD) == 0;
}

}  // namespace

class ExpressionParser {
 public:
  explicit ExpressionParser(std::string_view text) : text_(text) {}

  absl::StatusOr<Expression> Parse() {
    if (text_.size() > kExpressionSizeMax) return Bad("is too long");
    SkipBlanks();
    if (AtEnd()) return std::move(result_);
    RETURN_IF_ERROR(Or(0));
    if (!AtEnd()) return Bad("\"and\" or \"or\" is expected");
    return std::move(result_);
  }

 private:
  using Op = Expression::Op;

  absl::Status Bad(std::string_view why) const {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_SELECTION",
                       "expression \"{}\", character {}: {}; an example: name=web* and not host=lab-*",
                       text_.substr(0, 200), at_ + 1, why);
  }

  bool AtEnd() const { return at_ >= text_.size(); }
  void SkipBlanks() {
    while (!AtEnd() && IsBlank(text_[at_])) ++at_;
  }
  bool Take(char c) {
    if (AtEnd() || text_[at_] != c) return false;
    ++at_;
    SkipBlanks();
    return true;
  }
  // A word of letters that isn't followed by "=".
  bool TakeWord(std::string_view word) {
    if (text_.size() - at_ < word.size()) return false;
    for (size_t i = 0; i < word.size(); ++i) {
      if (Lower(text_[at_ + i]) != word[i]) return false;
    }
    const size_t end = at_ + word.size();
    if (end < text_.size() && !IsBlank(text_[end]) && text_[end] != '(' && text_[end] != ')') return false;
    at_ = end;
    SkipBlanks();
    return true;
  }

  absl::Status Or(int depth) {
    RETURN_IF_ERROR(And(depth));
    while (TakeWord("or")) {
      RETURN_IF_ERROR(And(depth));
      Emit(Op::kOr);
    }
    return absl::OkStatus();
  }

  absl::Status And(int depth) {
    RETURN_IF_ERROR(Not(depth));
    while (TakeWord("and")) {
      RETURN_IF_ERROR(Not(depth));
      Emit(Op::kAnd);
    }
    return absl::OkStatus();
  }

  absl::Status Not(int depth) {
    if (depth > kDepthMax) return Bad("too many parentheses");
    if (TakeWord("not")) {
      RETURN_IF_ERROR(Not(depth + 1));
      Emit(Op::kNot);
      return absl::OkStatus();
    }
    if (Take('(')) {
      RETURN_IF_ERROR(Or(depth + 1));
      return Take(')') ? absl::OkStatus() : Bad("\")\" is expected");
    }
    return Term();
  }

  absl::Status Term() {
    if (TakeWord("all")) {
      Emit(Op::kAll);
      return absl::OkStatus();
    }
    constexpr std::pair<std::string_view, Op> kFields[] = {
        {"name", Op::kName}, {"host", Op::kHost}, {"uuid", Op::kUuid}, {"kind", Op::kKind}};
    const size_t begin = at_;
    std::string field = TakeField();
    if (!field.empty() && Take('=')) {
      for (const auto& [name, op] : kFields) {
        if (field == name) return Pattern(op);
      }
      if (field.starts_with(kLabelPrefix) && field.size() > kLabelPrefix.size()) {
        return Pattern(Op::kLabel, field.substr(kLabelPrefix.size()));
      }
    }
    at_ = begin;
    return Bad("name=, host=, uuid=, kind=, label.KEY=, all, not or ( is expected");
  }

  // What may stand before "=", in lower case; blanks after it are taken too.
  std::string TakeField() {
    std::string field;
    for (; !AtEnd() && IsFieldChar(text_[at_]); ++at_) field += Lower(text_[at_]);
    SkipBlanks();
    return field;
  }

  absl::Status Pattern(Op op, std::string label = "") {
    const bool quoted = !AtEnd() && text_[at_] == '"';
    if (quoted) ++at_;
    const size_t begin = at_;
    while (!AtEnd() && (quoted ? text_[at_] != '"' : !IsBlank(text_[at_]) && text_[at_] != ')')) ++at_;
    std::string pattern(text_.substr(begin, at_ - begin));
    if (quoted && AtEnd()) return Bad("\" is expected");
    if (quoted) ++at_;
    if (pattern.empty()) return Bad("a pattern is expected");
    if (op == Op::kKind) {
      if (pattern != "vm" && pattern != "file-set") return Bad("kind is vm or file-set");
      result_.names_kind_ = true;
    }
    SkipBlanks();
    Emit(op, std::move(pattern), std::move(label));
    return absl::OkStatus();
  }

  void Emit(Op op, std::string pattern = "", std::string label = "") {
    result_.steps_.push_back({op, std::move(pattern), std::move(label)});
  }

  const std::string_view text_;
  size_t at_ = 0;
  Expression result_;
};

absl::StatusOr<Expression> Expression::Parse(std::string_view text) {
  return ExpressionParser(text).Parse();
}

bool Expression::Test(const Step& step, const catalog::Subject& subject) {
  switch (step.op) {
    case Op::kName:
      return Fits(step.pattern, subject.display_name);
    case Op::kHost:
      return Fits(step.pattern, subject.host_name) || Fits(step.pattern, subject.key.host.value);
    case Op::kUuid:
      return Fits(step.pattern, subject.key.uuid);
    case Op::kLabel: {
      const auto label = subject.labels.find(step.label);
      return label != subject.labels.end() && Fits(step.pattern, label->second);
    }
    case Op::kKind:
      return (step.pattern == "file-set") == filetree::FileSetOf(subject.key.uuid).has_value();
    default:
      return true;
  }
}

bool Expression::Matches(const catalog::Subject& subject) const {
  if (steps_.empty()) return false;
  if (!names_kind_ && filetree::FileSetOf(subject.key.uuid).has_value()) return false;
  std::vector<bool> stack;
  for (const Step& step : steps_) {
    if (step.op == Op::kNot) {
      stack.back() = !stack.back();
    } else if (step.op == Op::kAnd || step.op == Op::kOr) {
      const bool right = stack.back();
      stack.pop_back();
      stack.back() = step.op == Op::kAnd ? stack.back() && right : stack.back() || right;
    } else {
      stack.push_back(Test(step, subject));
    }
  }
  return stack.back();
}

}  // namespace umbra::policies

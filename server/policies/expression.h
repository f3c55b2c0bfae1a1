// The small language of selections. Pure.
//
//   name=web* and not host=lab-*          name: as people know it; host: its name or id; * ? [] as in a shell
//   (name=app01 or name="data base") and kind=vm
//   uuid=3f0c*                            the hypervisor's uuid
//   label.env=prod or label.team="a b"    a label of it, or of its host when it has none of this key; label.env=*: any
//   kind=file-set and name=shop           without a word of kind, virtual machines are meant
//   all
//
// "not" binds closest, then "and", then "or". Case doesn't matter; blanks around = don't either.
#ifndef UMBRA_SERVER_POLICIES_EXPRESSION_H_
#define UMBRA_SERVER_POLICIES_EXPRESSION_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/catalog/policy_records.h"

namespace umbra::policies {

inline constexpr size_t kExpressionSizeMax = 4096;

// A value; thread-safe to look at.
class Expression {
 public:
  // Matches nothing.
  Expression() = default;
  // An empty text matches nothing. INVALID_ARGUMENT / INVALID_SELECTION, telling where.
  static absl::StatusOr<Expression> Parse(std::string_view text);

  bool Matches(const catalog::Subject& subject) const;
  // Nothing matches, whatever comes.
  bool empty() const { return steps_.empty(); }

 private:
  friend class ExpressionParser;
  enum class Op { kAll, kName, kHost, kUuid, kKind, kLabel, kNot, kAnd, kOr };
  // In the order of evaluation, on a stack.
  struct Step {
    Op op;
    std::string pattern;
    std::string label;  // kLabel: its key
  };
  static bool Test(const Step& step, const catalog::Subject& subject);

  std::vector<Step> steps_;
  bool names_kind_ = false;
};

}  // namespace umbra::policies

#endif  // UMBRA_SERVER_POLICIES_EXPRESSION_H_

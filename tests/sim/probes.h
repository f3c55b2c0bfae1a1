// Counts how often a run reached the rare paths it is there for. A simulation that never gets to a place proves nothing
// about it, so a long run fails when a probe stays at zero.
#ifndef UMBRA_TESTS_SIM_PROBES_H_
#define UMBRA_TESTS_SIM_PROBES_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace umbra::sim {

class Probes {
 public:
  Probes();  // all of the list in probes.cc, at zero

  // `name` must be in the list.
  void Hit(std::string_view name);
  void Hit(std::string_view name, std::string_view detail);  // "name: detail"
  void HitIfListed(std::string_view name, std::string_view detail);
  void Add(const Probes& other);

  const std::map<std::string, int64_t, std::less<>>& counts() const { return counts_; }
  std::vector<std::string> Unreached() const;

 private:
  std::map<std::string, int64_t, std::less<>> counts_;
};

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_PROBES_H_

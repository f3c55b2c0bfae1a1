// Puts back what intents of a dead agent name: thaws guests, lets those go on that were
// stopped to be saved, ends point-in-time jobs, removes their files and those checkpoints that no recovery point knows.
#ifndef UMBRA_AGENT_JOURNAL_HEALING_H_
#define UMBRA_AGENT_JOURNAL_HEALING_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/journal/intent_journal.h"
#include "storage/base/clock.h"

namespace umbra::journal {

struct HealOptions {
  absl::Duration thaw_timeout = absl::Seconds(5);  // of one try; a guest agent in good health answers in milliseconds
  // How long one call of Heal tries while the hypervisor or a guest's agent doesn't answer. What isn't healed then
  // stays in the journal for the next call.
  absl::Duration patience = absl::Minutes(1);
  absl::Duration first_wait = absl::Milliseconds(200);  // between tries; doubles up to `longest_wait`
  absl::Duration longest_wait = absl::Seconds(5);
};

struct HealReport {
  std::vector<Intent> healed;
  std::vector<std::string> actions;  // for the log
  struct Open {
    Intent intent;
    absl::Status why;
  };
  std::vector<Open> open;            // still to be healed: call Heal again later
  std::vector<std::string> damaged;  // intent files that can't be read: a person must look
};

// Heals every intent of the journal that isn't live. Thaws and resumes first, of all virtual machines, then cleans up. A
// virtual machine that is gone or off needs neither; one that was paused before it was saved stays paused. A restore in
// place whose files had begun to take their names is finished; of any other the virtual machine is registered again as it
// was, with its old disks, and started when it ran, whoever turned it off meanwhile. The actions say so, and why one that
// ran could not be started. Safe to repeat.
// Blocks up to `patience` plus one call of the hypervisor. Errors: the journal can't be read.
absl::StatusOr<HealReport> Heal(hypervisor::Hypervisor& hypervisor, IntentJournal& journal, base::Clock& clock,
                                const HealOptions& options = {});

}  // namespace umbra::journal

#endif  // UMBRA_AGENT_JOURNAL_HEALING_H_

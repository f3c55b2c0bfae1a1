// States of a writer in one session: one table, looked up by a pure function.
#ifndef UMBRA_AGENT_VSS_WRITER_STATE_H_
#define UMBRA_AGENT_VSS_WRITER_STATE_H_

#include <optional>

#include "agent/vss/types.h"
#include "agent/vss/writer.h"

namespace umbra::vss {

// The state after the handler of `event` ended well (`ok`) or not; empty when a writer in `state` doesn't get the
// event.
std::optional<WriterState> NextState(WriterState state, WriterEvent event, bool ok);

// Whether the writer failed in this session.
bool HasFailed(WriterState state);

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_WRITER_STATE_H_

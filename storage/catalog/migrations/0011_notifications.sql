-- compatible_version: 1
-- Notifications: channels, what is wrong at present, what waits to be told, messages on their way. No secret is in
-- here: a channel names the file that holds it.

CREATE TABLE notification_channel (
  id                 TEXT    NOT NULL PRIMARY KEY,
  description        TEXT    NOT NULL,
  kind               INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 2),
  url                TEXT    NOT NULL,
  allow_plaintext    INTEGER NOT NULL CHECK (allow_plaintext IN (0, 1)),
  host               TEXT    NOT NULL,
  port               INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
  security           INTEGER NOT NULL CHECK (security BETWEEN 0 AND 3),
  username           TEXT    NOT NULL,
  sender             TEXT    NOT NULL,
  secret             TEXT    NOT NULL,
  authority          TEXT    NOT NULL,
  -- Bit n: topic n; 0: all.
  topics             INTEGER NOT NULL,
  digest_schedule    TEXT    NOT NULL,
  time_zone          TEXT    NOT NULL,
  grouping_window_us INTEGER NOT NULL,
  messages_per_hour  INTEGER NOT NULL CHECK (messages_per_hour > 0),
  paused             INTEGER NOT NULL CHECK (paused IN (0, 1)),
  create_time_us     INTEGER NOT NULL,
  update_time_us     INTEGER NOT NULL,
  revision           INTEGER NOT NULL,
  -- Digests up to this due time are made.
  digest_done_us     INTEGER NOT NULL,
  -- Up to here the messages of the past use up the rate.
  rate_used_to_us    INTEGER NOT NULL,
  -- Notices that found no place among the waiting ones.
  overflow_count     INTEGER NOT NULL
) STRICT;

CREATE TABLE notification_recipient (
  channel_id TEXT    NOT NULL REFERENCES notification_channel (id) ON DELETE CASCADE,
  position   INTEGER NOT NULL,
  address    TEXT    NOT NULL,
  PRIMARY KEY (channel_id, position)
) STRICT, WITHOUT ROWID;

-- Something that is wrong at present. It is told when it still is at due_us.
CREATE TABLE notice_condition (
  key      TEXT    NOT NULL PRIMARY KEY,
  topic    INTEGER NOT NULL CHECK (topic BETWEEN 1 AND 6),
  subject  TEXT    NOT NULL,
  title    TEXT    NOT NULL,
  message  TEXT    NOT NULL,
  since_us INTEGER NOT NULL,
  due_us   INTEGER NOT NULL,
  last_us  INTEGER NOT NULL,
  times    INTEGER NOT NULL,
  -- NULL: not told yet.
  told_us  INTEGER
) STRICT, WITHOUT ROWID;

-- What the next message of a channel will tell: one row for each cause, however often it came and went.
CREATE TABLE notice_waiting (
  channel_id TEXT    NOT NULL REFERENCES notification_channel (id) ON DELETE CASCADE,
  key        TEXT    NOT NULL,
  topic      INTEGER NOT NULL CHECK (topic BETWEEN 1 AND 6),
  phase      INTEGER NOT NULL CHECK (phase BETWEEN 1 AND 4),
  subject    TEXT    NOT NULL,
  title      TEXT    NOT NULL,
  message    TEXT    NOT NULL,
  first_us   INTEGER NOT NULL,
  last_us    INTEGER NOT NULL,
  times      INTEGER NOT NULL,
  PRIMARY KEY (channel_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE notice_delivery (
  number          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  id              TEXT    NOT NULL UNIQUE,
  channel_id      TEXT    NOT NULL REFERENCES notification_channel (id) ON DELETE CASCADE,
  kind            INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
  state           INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3),
  title           TEXT    NOT NULL,
  text            TEXT    NOT NULL,
  json            TEXT    NOT NULL,
  notice_count    INTEGER NOT NULL,
  attempts        INTEGER NOT NULL,
  create_time_us  INTEGER NOT NULL,
  next_attempt_us INTEGER NOT NULL,
  end_time_us     INTEGER,
  error_reason    TEXT    NOT NULL,
  error_message   TEXT    NOT NULL,
  CHECK ((end_time_us IS NOT NULL) = (state IN (2, 3)))
) STRICT;

CREATE INDEX notice_delivery_queued ON notice_delivery (next_attempt_us) WHERE state = 1;
CREATE INDEX notice_delivery_channel ON notice_delivery (channel_id, number);

-- One row: the newest event that was looked at.
CREATE TABLE notice_cursor (
  id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  sequence INTEGER NOT NULL
) STRICT;

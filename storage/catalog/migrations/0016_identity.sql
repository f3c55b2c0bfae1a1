-- compatible_version: 1
-- People and programs that use the API, what they may do, and the log of what they did. No password, token or session is
-- here, only what one is recognized by: a password's Argon2id text, SHA-256 of the others' secrets.

CREATE TABLE user (
  name              TEXT    NOT NULL PRIMARY KEY,
  display_name      TEXT    NOT NULL,
  -- Empty: nobody can sign in as this user.
  password_hash     TEXT    NOT NULL,
  disabled          INTEGER NOT NULL CHECK (disabled IN (0, 1)),
  create_time_us    INTEGER NOT NULL,
  update_time_us    INTEGER NOT NULL,
  password_time_us  INTEGER NOT NULL,
  -- NULL: never.
  last_sign_in_us   INTEGER,
  revision          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A grant is a role with a scope: the rows of one position. scope_kind 0: everything (scope_value is empty, and no other
-- row has the position), 1: a host, 2: a policy, 3: a label KEY=VALUE.
-- Key columns first: SQLite 3.40 takes such a table, STRICT and WITHOUT ROWID, for damaged otherwise (quick_check).
CREATE TABLE user_grant (
  user_name   TEXT    NOT NULL REFERENCES user (name) ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  scope_kind  INTEGER NOT NULL CHECK (scope_kind BETWEEN 0 AND 3),
  scope_value TEXT    NOT NULL CHECK ((scope_value = '') = (scope_kind = 0)),
  role        TEXT    NOT NULL,
  PRIMARY KEY (user_name, position, scope_kind, scope_value)
) STRICT, WITHOUT ROWID;

CREATE INDEX user_grant_role ON user_grant (role);

-- Roles that people made; the built-in ones are in the program.
CREATE TABLE role (
  name           TEXT    NOT NULL PRIMARY KEY,
  description    TEXT    NOT NULL,
  create_time_us INTEGER NOT NULL,
  update_time_us INTEGER NOT NULL,
  revision       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE role_permission (
  role       TEXT NOT NULL REFERENCES role (name) ON DELETE CASCADE,
  permission TEXT NOT NULL,
  PRIMARY KEY (role, permission)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_token (
  id             TEXT    NOT NULL PRIMARY KEY,
  hash           TEXT    NOT NULL UNIQUE,
  -- NULL: a token that belongs to no user.
  user_name      TEXT    REFERENCES user (name) ON DELETE CASCADE,
  description    TEXT    NOT NULL,
  creator        TEXT    NOT NULL,
  create_time_us INTEGER NOT NULL,
  expire_time_us INTEGER NOT NULL,
  -- NULL: never; at most a minute behind.
  last_used_us   INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX api_token_user ON api_token (user_name, id);

-- As user_grant. A token of a user without any has those of its user.
CREATE TABLE api_token_grant (
  token_id    TEXT    NOT NULL REFERENCES api_token (id) ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  scope_kind  INTEGER NOT NULL CHECK (scope_kind BETWEEN 0 AND 3),
  scope_value TEXT    NOT NULL CHECK ((scope_value = '') = (scope_kind = 0)),
  role        TEXT    NOT NULL,
  PRIMARY KEY (token_id, position, scope_kind, scope_value)
) STRICT, WITHOUT ROWID;

CREATE INDEX api_token_grant_role ON api_token_grant (role);

CREATE TABLE session (
  id             TEXT    NOT NULL PRIMARY KEY,
  hash           TEXT    NOT NULL UNIQUE,
  user_name      TEXT    NOT NULL REFERENCES user (name) ON DELETE CASCADE,
  peer           TEXT    NOT NULL,
  client         TEXT    NOT NULL,
  create_time_us INTEGER NOT NULL,
  expire_time_us INTEGER NOT NULL,
  -- At most a minute behind.
  last_seen_us   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX session_user ON session (user_name, create_time_us);

-- What was done by whom. hash is over the row before and this one (docs/formats/catalog.md), lower-case hexadecimal.
CREATE TABLE audit (
  number    INTEGER NOT NULL PRIMARY KEY,
  time_us   INTEGER NOT NULL,
  principal TEXT    NOT NULL,
  peer      TEXT    NOT NULL,
  method    TEXT    NOT NULL,
  object    TEXT    NOT NULL,
  summary   TEXT    NOT NULL,
  code      INTEGER NOT NULL,
  reason    TEXT    NOT NULL,
  hash      TEXT    NOT NULL
) STRICT;

CREATE INDEX audit_principal ON audit (principal, number);

-- One row: the newest entry that was pruned, and its hash, which the oldest entry that is there stands on.
CREATE TABLE audit_anchor (
  id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  number INTEGER NOT NULL,
  hash   TEXT    NOT NULL
) STRICT;

INSERT INTO audit_anchor (id, number, hash)
  VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TRIGGER audit_appends BEFORE INSERT ON audit
  WHEN NEW.number <> 1 + COALESCE((SELECT MAX(number) FROM audit), (SELECT number FROM audit_anchor))
BEGIN
  SELECT RAISE(ABORT, 'the audit log only grows at its end');
END;

CREATE TRIGGER audit_stays BEFORE UPDATE ON audit
BEGIN
  SELECT RAISE(ABORT, 'entries of the audit log never change');
END;

-- Pruning moves the anchor first.
CREATE TRIGGER audit_keeps BEFORE DELETE ON audit
  WHEN OLD.number > (SELECT number FROM audit_anchor)
BEGIN
  SELECT RAISE(ABORT, 'entries of the audit log go by pruning only');
END;

CREATE TRIGGER audit_anchor_moves_forward BEFORE UPDATE ON audit_anchor
  WHEN NEW.number <= OLD.number OR NOT EXISTS (SELECT 1 FROM audit WHERE number = NEW.number AND hash = NEW.hash)
BEGIN
  SELECT RAISE(ABORT, 'the anchor of the audit log moves to an entry of it');
END;

CREATE TRIGGER audit_anchor_stays BEFORE DELETE ON audit_anchor
BEGIN
  SELECT RAISE(ABORT, 'the anchor of the audit log stays');
END;

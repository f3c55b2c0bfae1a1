// Proves that a file set's hooks run in their places, that thaw always follows a freeze that was tried, also after a
// time-out, a crash or somebody else's failure, that nothing is left behind, and that copies of a real SQLite database,
// and of a PostgreSQL where one is installed, taken while they are written, hold every row that was committed before.
#include "agent/writers/file_set_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/vss/backup_components.h"
#include "agent/writers/vss_host.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "tests/support/fake_command_runner.h"
#include "tests/support/temp_dir.h"

namespace umbra::writers {
namespace {

namespace fs = std::filesystem;
using base::ReasonOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FileSetWriterTest : public ::testing::Test {
 protected:
  FileSetWriterTest() : hypervisor_(dir_.File("vms"), files_, clock_, random_) {
    set_.name = "shop";
    set_.caption = "The shop";
    set_.folders = {{dir_.File("data")}};
    fs::create_directories(dir_.File("data"));
    std::ofstream(dir_.File("data") + "/file") << "before";
    auto vm = hypervisor_.CreateVm({.name = "vm", .disks = {{"vda", 1 << 20, {}}}});
    EXPECT_TRUE(vm.ok());
    vm_ = *vm;
  }

  // As a new agent process.
  void Start(base::CommandRunner& commands) {
    host_.reset();
    VssHostOptions options;
    options.scratch_folder = dir_.File("s");
    options.journal_folder = dir_.File("journal");
    options.file_sets = {{set_}, &commands, &copier_, dir_.File("copies"), dir_.File("intents")};
    auto host = VssHost::Create(hypervisor_, files_, clock_, random_, options);
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
  }

  void SetHooks() {
    set_.prepare = {{"prepare"}};
    set_.freeze = {{"freeze"}};
    set_.thaw = {{"thaw"}};
    set_.complete = {{"complete"}};
  }

  std::unique_ptr<VmBackup> Backup() {
    VmBackupOptions options;
    options.vm_uuids = {vm_};
    options.owner_tag = "test";
    options.file_sets = {"shop"};
    return host_->NewBackup(options);
  }

  absl::Status Finish(VmBackup& backup) {
    RETURN_IF_ERROR(backup.SetSucceeded(vm_, true));
    RETURN_IF_ERROR(backup.SetFileSetSucceeded("shop", true));
    RETURN_IF_ERROR(backup.Documents().status());
    return backup.Complete();
  }

  void ExpectNothingLeft() {
    EXPECT_TRUE(!fs::exists(dir_.File("copies")) || fs::is_empty(dir_.File("copies")));
    EXPECT_TRUE(!fs::exists(dir_.File("intents")) || fs::is_empty(dir_.File("intents")));
    EXPECT_FALSE(hypervisor_.IsFrozen(vm_));
    EXPECT_TRUE(hypervisor_.CheckNoJob(vm_).ok());
  }

  std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  base::SystemFolderCopier copier_{clock_};
  hypervisor::SimulatedHypervisor hypervisor_;
  FileSet set_;
  std::string vm_;
  std::unique_ptr<VssHost> host_;
};

absl::StatusOr<base::CommandResult> Fine(const base::Command&) {
  return base::CommandResult{};
}

TEST_F(FileSetWriterTest, HooksRunInTheirPlacesAndTheCopyIsThatOfTheFreeze) {
  SetHooks();
  testing::FakeCommandRunner commands([&](const base::Command& command) {
    const std::string& hook = command.arguments.front();
    EXPECT_THAT(command.environment, ElementsAre(std::pair<std::string, std::string>("UMBRA_FILE_SET", "shop"),
                                                 std::pair<std::string, std::string>("UMBRA_EVENT", hook)));
    if (hook == "freeze") std::ofstream(dir_.File("data") + "/file") << "frozen";
    if (hook == "thaw") std::ofstream(dir_.File("data") + "/file") << "thawed";
    return Fine(command);
  });
  Start(commands);
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  EXPECT_THAT(commands.lines(), IsEmpty());
  const auto snapshot = backup->Snapshot();
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->size(), 1u);  // the virtual machine of the same set
  EXPECT_THAT(commands.lines(), ElementsAre("prepare", "freeze", "thaw"));
  const auto copy = backup->FileSetCopy("shop");
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ(Read(copy->folders.front() + "/file"), "frozen");
  ASSERT_TRUE(backup->SetSucceeded(vm_, true).ok());
  ASSERT_TRUE(backup->SetFileSetSucceeded("shop", true).ok());
  const auto documents = backup->Documents();
  ASSERT_TRUE(documents.ok()) << documents.status();
  auto parsed = vss::ParseBackupComponents(documents->backup_components);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto* component = parsed->Find(FileSetWriter::ComponentOf("shop"));
  ASSERT_NE(component, nullptr);
  EXPECT_THAT(component->backup_metadata, HasSubstr("entries=2;"));
  ASSERT_TRUE(backup->Complete().ok());
  EXPECT_THAT(commands.lines(), ElementsAre("prepare", "freeze", "thaw", "complete"));
  backup.reset();
  ExpectNothingLeft();
}

TEST_F(FileSetWriterTest, ThawFollowsAFreezeThatFails) {
  SetHooks();
  testing::FakeCommandRunner commands([](const base::Command& command) -> absl::StatusOr<base::CommandResult> {
    if (command.arguments.front() != "freeze") return base::CommandResult{};
    return base::CommandResult{.exit_status = 3, .errors = "the database said no\n"};
  });
  Start(commands);
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  const absl::Status failed = backup->Snapshot().status();
  EXPECT_EQ(ReasonOf(failed), "COMMAND_FAILED");
  EXPECT_THAT(base::MessageOf(failed), HasSubstr("file set shop: freeze"));
  EXPECT_THAT(base::MessageOf(failed), HasSubstr("the database said no"));
  EXPECT_THAT(commands.lines(), ElementsAre("prepare", "freeze", "thaw"));
  backup.reset();
  ExpectNothingLeft();
}

TEST_F(FileSetWriterTest, ThawFollowsAFreezeThatTakesTooLong) {
  set_.freeze = {{"/bin/sh", "-c", "echo frozen > " + dir_.File("state") + "; sleep 60"}, absl::Seconds(1)};
  set_.thaw = {{"/bin/sh", "-c", "echo thawed > " + dir_.File("state")}};
  base::SystemCommandRunner commands(clock_);
  Start(commands);
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  EXPECT_EQ(ReasonOf(backup->Snapshot().status()), "COMMAND_TIMEOUT");
  EXPECT_EQ(Read(dir_.File("state")), "thawed\n");
  backup.reset();
  ExpectNothingLeft();
}

TEST_F(FileSetWriterTest, ThawThatFailsIsTriedAgainByHealing) {
  SetHooks();
  bool broken = true;
  testing::FakeCommandRunner commands([&](const base::Command& command) -> absl::StatusOr<base::CommandResult> {
    return base::CommandResult{.exit_status = broken && command.arguments.front() == "thaw" ? 1 : 0};
  });
  Start(commands);
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  EXPECT_EQ(ReasonOf(backup->Snapshot().status()), "COMMAND_FAILED");
  backup.reset();
  EXPECT_FALSE(fs::is_empty(dir_.File("intents")));
  ASSERT_TRUE(host_->Heal().ok());
  EXPECT_FALSE(fs::is_empty(dir_.File("intents")));
  broken = false;
  ASSERT_TRUE(host_->Heal().ok());
  EXPECT_EQ(commands.lines().back(), "thaw");
  ExpectNothingLeft();
}

TEST_F(FileSetWriterTest, AnotherPartOfTheSetFailsAndTheServiceIsThawed) {
  SetHooks();
  testing::FakeCommandRunner commands(Fine);
  hypervisor::SimulatedFaults faults;
  faults.freeze_fails = true;
  hypervisor_.SetFaults(vm_, faults);
  Start(commands);
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  EXPECT_EQ(ReasonOf(backup->Snapshot().status()), "GUEST_FREEZE_FAILED");
  const auto lines = commands.lines();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "freeze"), std::count(lines.begin(), lines.end(), "thaw"));
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "complete"), 0);
  backup.reset();
  ExpectNothingLeft();
}

TEST_F(FileSetWriterTest, ASetThatIsTooLargeIsRefusedBeforeAnyHookRuns) {
  SetHooks();
  set_.copy_bytes_max = 1000;
  std::ofstream(dir_.File("data") + "/large") << std::string(100000, 'x');
  testing::FakeCommandRunner commands(Fine);
  Start(commands);
  const auto size = copier_.Measure(set_.folders.front(), dir_.File("probe"), {});
  if (size->can_share) GTEST_SKIP() << "blocks can be shared here";
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  const absl::Status refused = backup->Snapshot().status();
  EXPECT_EQ(ReasonOf(refused), "FILE_SET_TOO_LARGE");
  EXPECT_THAT(commands.lines(), IsEmpty());
  backup.reset();
  ExpectNothingLeft();
}

TEST_F(FileSetWriterTest, ACopyThatFailsInsideTheHoldThaws) {
  SetHooks();
  testing::FakeCommandRunner commands([&](const base::Command& command) {
    if (command.arguments.front() == "freeze") fs::remove_all(dir_.File("data"));
    return Fine(command);
  });
  Start(commands);
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  EXPECT_FALSE(backup->Snapshot().ok());
  EXPECT_THAT(commands.lines(), ElementsAre("prepare", "freeze", "thaw"));
  backup.reset();
  ExpectNothingLeft();
}

TEST_F(FileSetWriterTest, ANamedFileMustBeInTheCopyAPatternMayMatchNothing) {
  testing::FakeCommandRunner commands(Fine);
  const auto snapshot = [&](base::FolderSelection folder) {
    set_.folders = {std::move(folder)};
    Start(commands);
    auto backup = Backup();
    EXPECT_TRUE(backup->Prepare().ok());
    return backup->Snapshot().status();
  };
  const std::string data = dir_.File("data");
  EXPECT_TRUE(snapshot({data, "file"}).ok());
  EXPECT_TRUE(snapshot({data, "*.db"}).ok());
  const absl::Status missing = snapshot({data, "shop.db"});
  EXPECT_EQ(ReasonOf(missing), "FILE_NOT_FOUND");
  EXPECT_THAT(base::MessageOf(missing), HasSubstr("file set shop: " + data + "/shop.db"));
  EXPECT_TRUE(snapshot({data, "file", true, {"file"}}).ok()) << "excluded isn't missing";
  fs::create_symlink("file", data + "/link");
  EXPECT_TRUE(snapshot({data, "link"}).ok());
  ExpectNothingLeft();
}

TEST_F(FileSetWriterTest, AfterACrashHealingThawsAndRemovesTheCopy) {
  SetHooks();
  testing::FakeCommandRunner commands(Fine);
  // What a predecessor left that died in the freeze: its intent, and a part of the copy.
  const std::string set_id = "11111111-2222-4333-8444-555555555555";
  fs::create_directories(dir_.File("intents"));
  std::ofstream(dir_.File("intents") + "/" + set_id + ".shop.fileset") << "umbra file set intent 1\n";
  fs::create_directories(dir_.File("copies") + "/" + set_id + "/0-0");
  fs::create_directories(dir_.File("copies") + "/somebody-elses");
  Start(commands);
  ASSERT_TRUE(host_->Heal().ok());
  EXPECT_THAT(commands.lines(), ElementsAre("thaw"));
  EXPECT_FALSE(fs::exists(dir_.File("copies") + "/" + set_id));
  EXPECT_TRUE(fs::exists(dir_.File("copies") + "/somebody-elses"));
  fs::remove(dir_.File("copies") + "/somebody-elses");
  ExpectNothingLeft();
  ASSERT_TRUE(host_->Heal().ok());
  EXPECT_THAT(commands.lines(), ElementsAre("thaw"));
}

TEST_F(FileSetWriterTest, HealingLeavesRunningWorkAlone) {
  SetHooks();
  testing::FakeCommandRunner commands(Fine);
  Start(commands);
  auto backup = Backup();
  ASSERT_TRUE(backup->Prepare().ok());
  ASSERT_TRUE(backup->Snapshot().ok());
  const size_t before = commands.lines().size();
  ASSERT_TRUE(host_->Heal().ok());
  EXPECT_EQ(commands.lines().size(), before);
  EXPECT_TRUE(fs::exists(backup->FileSetCopy("shop")->folders.front() + "/file"));
  EXPECT_TRUE(Finish(*backup).ok());
  backup.reset();
  ExpectNothingLeft();
}

TEST_F(FileSetWriterTest, ConfigurationIsChecked) {
  const auto fault = [&](const std::function<void(FileSet&)>& spoil) {
    FileSet set = set_;
    spoil(set);
    const absl::Status status = CheckFileSets({set});
    EXPECT_EQ(ReasonOf(status), "CONFIG_INVALID");
    return base::MessageOf(status);
  };
  EXPECT_THAT(fault([](FileSet& s) { s.name = "a/b"; }), HasSubstr("name"));
  EXPECT_THAT(fault([](FileSet& s) { s.folders.clear(); }), HasSubstr("no paths"));
  EXPECT_THAT(fault([](FileSet& s) { s.folders[0].folder = "data"; }), HasSubstr("absolute"));
  EXPECT_THAT(fault([](FileSet& s) { s.freeze = {{"freeze"}}; }), HasSubstr("no thaw"));
  EXPECT_THAT(fault([](FileSet& s) { s.copy_time_max = absl::Seconds(10); }), HasSubstr("copy"));
  EXPECT_THAT(fault([](FileSet& s) { s.prepare = {{"x"}, absl::Hours(1)}; }), HasSubstr("prepare"));
  EXPECT_THAT(base::MessageOf(CheckFileSets({set_, set_})), HasSubstr("two of this name"));
  EXPECT_TRUE(CheckFileSets({set_}).ok());
}

// --- real services ---

// A folder with scripts that know it as $D.
class ServiceTest : public FileSetWriterTest {
 protected:
  std::string Script(const std::string& name, const std::string& text) {
    const std::string path = dir_.File(name);
    std::ofstream(path) << "#!/bin/bash\nD='" << dir_.path() << "'\n" << text;
    chmod(path.c_str(), 0755);
    return path;
  }

  std::string Out(const std::string& script, absl::Duration timeout = absl::Seconds(60)) {
    base::Command command;
    command.arguments = {script};
    command.timeout = timeout;
    const auto ran = commands_.RunToSuccess(command);
    EXPECT_TRUE(ran.ok()) << base::Describe(ran.status());
    return ran.ok() ? ran->output : "";
  }

  // Backs the set up and returns the folder of the copy, which `use` may change.
  void WithCopy(const std::function<void(const std::string& folder)>& use) {
    ASSERT_TRUE(CheckFileSets({set_}).ok());
    Start(commands_);
    auto backup = Backup();
    ASSERT_TRUE(backup->Prepare().ok());
    const auto snapshot = backup->Snapshot();
    ASSERT_TRUE(snapshot.ok()) << base::Describe(snapshot.status());
    const auto copy = backup->FileSetCopy("shop");
    ASSERT_TRUE(copy.ok()) << copy.status();
    use(copy->folders.front());
    ASSERT_TRUE(Finish(*backup).ok());
    backup.reset();
    ExpectNothingLeft();
  }

  base::SystemCommandRunner commands_{clock_};
};

// Each transaction writes a row into two tables; "committed" is what the program has seen committed.
constexpr char kSqliteProgram[] = R"sh(
cat > "$D/program.py" <<'END'
import os, sqlite3, sys
d = sys.argv[1]
db = sqlite3.connect(d + "/data/shop.db", timeout=30, isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("CREATE TABLE IF NOT EXISTS orders(id INTEGER PRIMARY KEY, what TEXT)")
db.execute("CREATE TABLE IF NOT EXISTS bills(id INTEGER PRIMARY KEY, amount TEXT)")
n = 0
while os.path.exists(d + "/go"):
    n += 1
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO orders VALUES (?, ?)", (n, "x" * 500))
    db.execute("INSERT INTO bills VALUES (?, ?)", (n, "y" * 500))
    db.execute("COMMIT")
    with open(d + "/committed.new", "w") as f: f.write(str(n))
    os.rename(d + "/committed.new", d + "/committed")
END
touch "$D/go"
python3 "$D/program.py" "$D" >"$D/program.log" 2>&1 &
for i in $(seq 600); do [[ $(cat "$D/committed" 2>/dev/null || echo 0) -ge 50 ]] && exit 0; sleep 0.05; done
cat "$D/program.log" >&2; exit 1
)sh";

// Holds the database's write lock until it is told to let go.
constexpr char kSqliteFreeze[] = R"sh(
cat > "$D/hold.py" <<'END'
import os, sqlite3, sys, time
d = sys.argv[1]
db = sqlite3.connect(d + "/data/shop.db", timeout=15, isolation_level=None)
db.execute("BEGIN IMMEDIATE")
open(d + "/held", "w").close()
while os.path.exists(d + "/held"): time.sleep(0.01)
END
python3 "$D/hold.py" "$D" >"$D/hold.log" 2>&1 &
for i in $(seq 300); do [[ -e $D/held ]] && { echo "locked"; exit 0; }; sleep 0.05; done
cat "$D/hold.log" >&2; exit 1
)sh";

constexpr char kSqliteCheck[] = R"sh(
sqlite3 "$1" 'PRAGMA integrity_check; SELECT count(*) FROM orders; SELECT count(*) FROM bills JOIN orders USING (id)'
)sh";

TEST_F(ServiceTest, ASqliteDatabaseIsCopiedWhileAProgramWrites) {
  set_.freeze = {{Script("freeze", kSqliteFreeze)}};
  set_.thaw = {{Script("thaw", "rm -f $D/held\n")}};
  Out(Script("start", kSqliteProgram));
  const std::string committed = Script("committed-now", "cat $D/committed\n");
  const int64_t before = std::stoll(Out(committed));
  WithCopy([&](const std::string& folder) {
    const int64_t frozen = std::stoll(Out(committed));
    // Another folder, another name of the folder: a restore.
    fs::copy(folder, dir_.File("restored"));
    const std::string check = Out(Script("check", "set -- $D/restored/shop.db\n" + std::string(kSqliteCheck)));
    int64_t orders = 0, bills = 0;
    ASSERT_EQ(std::sscanf(check.c_str(), "ok\n%ld\n%ld", &orders, &bills), 2) << check;
    EXPECT_GE(orders, before);
    EXPECT_EQ(orders, bills);
    EXPECT_LE(orders, frozen + 1);
  });
  // The program goes on.
  const int64_t after = std::stoll(Out(committed));
  for (int i = 0; i < 200 && std::stoll(Out(committed)) <= after; ++i) usleep(50000);
  EXPECT_GT(std::stoll(Out(committed)), after);
  Out(Script("stop", "rm -f $D/go\n"));
}

// Stops the processes of a PostgreSQL where they are, the one that makes others first: its files are those of a crash
// at that moment, which it recovers from.
constexpr char kPostgresFreeze[] = R"sh(
main=$(head -1 $D/data/postmaster.pid)
kill -STOP "$main" && for child in $(pgrep -P "$main"); do kill -STOP "$child"; done
)sh";
constexpr char kPostgresThaw[] = R"sh(
main=$(head -1 $D/data/postmaster.pid 2>/dev/null) || exit 0
for child in $(pgrep -P "$main"); do kill -CONT "$child"; done
kill -CONT "$main"
)sh";
constexpr char kPostgresTools[] = R"sh(
V=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
as() { if [[ $(id -u) == 0 ]]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi; }
sql() { as $V/psql -X -q -t -A -h "$1" -p 17543 -U shop -d postgres -v ON_ERROR_STOP=1 -c "$2"; }
up() { as $V/pg_ctl -D "$1" -w -t 60 -l "$1.log" -o "-k $2 -c listen_addresses='' -p 17543" start </dev/null >/dev/null 2>&1; }
)sh";

TEST_F(ServiceTest, APostgresIsCopiedWhileItIsWritten) {
  if (!fs::exists("/usr/lib/postgresql")) GTEST_SKIP() << "no PostgreSQL is installed";
  const std::string tools = kPostgresTools;
  set_.prepare = {{Script("prepare", tools + "sql $D/one CHECKPOINT\n")}};
  set_.freeze = {{Script("freeze", kPostgresFreeze)}};
  set_.thaw = {{Script("thaw", kPostgresThaw)}};
  Out(Script("start", tools + R"sh(
set -e
rm -rf "$D/data"; mkdir -p "$D/one" "$D/two" "$D/data"; chmod 711 "$D"
[[ $(id -u) != 0 ]] || chown postgres "$D/one" "$D/two" "$D/data" && touch "$D/data.log" && chmod 666 "$D/data.log"
as $V/initdb -D "$D/data" -U shop --auth=trust --no-sync -E UTF8 --locale=C.UTF-8 >/dev/null
up "$D/data" "$D/one"
sql "$D/one" 'CREATE TABLE orders(id int PRIMARY KEY, what text)'
touch "$D/go"
( n=0; while [[ -e $D/go ]]; do n=$((n+1)); sql "$D/one" "INSERT INTO orders VALUES ($n, repeat('x', 300))" || exit; echo $n > "$D/committed.new"; mv "$D/committed.new" "$D/committed"; done ) >"$D/program.log" 2>&1 &
for i in $(seq 600); do [[ $(cat "$D/committed" 2>/dev/null || echo 0) -ge 20 ]] && exit 0; sleep 0.05; done
cat "$D/program.log" >&2; exit 1
)sh"));
  const std::string committed = Script("committed-now", "cat $D/committed\n");
  const int64_t before = std::stoll(Out(committed));
  WithCopy([&](const std::string& folder) {
    const int64_t frozen = std::stoll(Out(committed));
    const std::string counted = Out(Script("restore", tools + "set -e\ncp -a '" + folder + R"sh(' "$D/restored"
rm -f "$D/restored/postmaster.pid"; touch "$D/restored.log"; chmod 666 "$D/restored.log"
up "$D/restored" "$D/two"
sql "$D/two" 'SELECT count(*) FROM orders'
sql "$D/two" 'SELECT max(id) FROM orders'
as $V/pg_ctl -D "$D/restored" -m immediate stop >/dev/null
)sh"));
    int64_t rows = 0, last = 0;
    ASSERT_EQ(std::sscanf(counted.c_str(), "%ld\n%ld", &rows, &last), 2) << counted;
    EXPECT_GE(rows, before);
    EXPECT_EQ(rows, last);
    EXPECT_LE(rows, frozen + 1);
  });
  Out(Script("stop", tools + "rm -f $D/go; as $V/pg_ctl -D $D/data -m immediate stop >/dev/null\n"));
}

}  // namespace
}  // namespace umbra::writers

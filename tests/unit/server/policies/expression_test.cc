// Proves what selections mean: the words of expressions, their order, what is no expression, and who selects what.
#include "server/policies/expression.h"

#include "gtest/gtest.h"
#include "server/policies/policy_set.h"
#include "storage/base/status.h"

namespace umbra::policies {
namespace {

using catalog::Subject;

Subject Vm(const std::string& name, const std::string& host = "h1", const std::string& host_name = "rack1") {
  return {{catalog::HostId(host), "uuid-of-" + name}, name, host_name};
}

Subject FileSet(const std::string& name) {
  return {{catalog::HostId("h1"), "fileset:" + name}, name, "rack1"};
}

bool Matches(std::string_view text, const Subject& subject) {
  const auto expression = Expression::Parse(text);
  EXPECT_TRUE(expression.ok()) << expression.status();
  return expression.ok() && expression->Matches(subject);
}

TEST(ExpressionTest, EachWordMeansWhatItSays) {
  EXPECT_TRUE(Matches("all", Vm("web1")));
  EXPECT_TRUE(Matches("name=web*", Vm("Web1")));
  EXPECT_FALSE(Matches("name=web", Vm("web1")));
  EXPECT_TRUE(Matches("host=rack?", Vm("web1")));
  EXPECT_TRUE(Matches("host=h1", Vm("web1"))) << "the id, too";
  EXPECT_TRUE(Matches("uuid=uuid-of-w*", Vm("web1")));
  EXPECT_TRUE(Matches("name=\"data base\"", Vm("data base")));
  EXPECT_TRUE(Matches("kind=vm", Vm("web1")));
}

TEST(ExpressionTest, LabelsAreAskedForByTheirKeys) {
  Subject vm = Vm("web1");
  vm.labels = {{"env", "Prod"}, {"team", "data base"}, {"note", ""}};
  EXPECT_TRUE(Matches("label.env=prod", vm));
  EXPECT_TRUE(Matches("LABEL.ENV = \"prod\"", vm));
  EXPECT_TRUE(Matches("label.team=\"data b*\" and name=web1", vm));
  EXPECT_TRUE(Matches("label.note=*", vm)) << "any value, also none";
  EXPECT_FALSE(Matches("label.owner=*", vm));
  EXPECT_TRUE(Matches("not label.env=test and host = rack1", vm));
  vm.labels = {{"example.com/a-b_c", "1"}};
  EXPECT_TRUE(Matches("label.example.com/a-b_c=1", vm));
}

TEST(ExpressionTest, FileSetsAreMeantOnlyWhereTheirKindIsNamed) {
  EXPECT_FALSE(Matches("all", FileSet("shop")));
  EXPECT_FALSE(Matches("name=shop", FileSet("shop")));
  EXPECT_TRUE(Matches("kind=file-set and name=shop", FileSet("shop")));
  EXPECT_FALSE(Matches("kind=file-set", Vm("web1")));
}

TEST(ExpressionTest, NotBindsBeforeAndBeforeOr) {
  EXPECT_TRUE(Matches("name=a or name=b and name=c", Vm("a")));
  EXPECT_FALSE(Matches("(name=a or name=b) and name=c", Vm("a")));
  EXPECT_TRUE(Matches("not name=a and name=b", Vm("b")));
  EXPECT_FALSE(Matches("not (name=a or name=b)", Vm("b")));
  EXPECT_TRUE(Matches("NOT NOT name=b AND(name=b)", Vm("b")));
}

TEST(ExpressionTest, AnEmptyOneMatchesNothing) {
  EXPECT_FALSE(Matches("", Vm("a")));
  EXPECT_FALSE(Matches("  ", Vm("a")));
}

TEST(ExpressionTest, WhatIsNoExpressionIsRefused) {
  for (const std::string& text :
       {std::string("web*"), std::string("name="), std::string("name=a name=b"), std::string("name=a and"),
        std::string("(name=a"), std::string("name=a)"), std::string("kind=disk"), std::string("name=\"a"),
        std::string("not"), std::string("color=red"), std::string("label=a"), std::string("label.=a"),
        std::string("label.env"), std::string("label.env=\"\""), std::string("=a"), std::string(200, '('),
        std::string(5000, ' ')}) {
    EXPECT_EQ(base::ReasonOf(Expression::Parse(text).status()), "INVALID_SELECTION") << text;
  }
}

catalog::Policy Policy(const std::string& id) {
  catalog::Policy policy;
  policy.id = catalog::PolicyId(id);
  return policy;
}

TEST(PolicySetTest, PartsAddUpAndWhatIsExcludedIsOut) {
  catalog::Policy policy = Policy("p");
  policy.selection.members = {Vm("db1", "h2").key};
  policy.selection.hosts = {catalog::HostId("h3")};
  policy.selection.expression = "name=web*";
  policy.selection.exclude = "name=*-test";
  const PolicySet set({policy});
  const CompiledPolicy& p = set.All().front();
  EXPECT_TRUE(set.Selects(p, Vm("web1")));
  EXPECT_TRUE(set.Selects(p, Vm("db1", "h2")));
  EXPECT_TRUE(set.Selects(p, Vm("any", "h3")));
  EXPECT_FALSE(set.Selects(p, Vm("web1-test")));
  EXPECT_FALSE(set.Selects(p, Vm("any-test", "h3")));
  EXPECT_FALSE(set.Selects(p, Vm("other")));
}

TEST(PolicySetTest, EverythingElseIsWhatNoOtherNames) {
  catalog::Policy web = Policy("web"), rest = Policy("rest"), rest2 = Policy("rest2");
  web.selection.expression = "name=web*";
  rest.selection.everything_else = rest2.selection.everything_else = true;
  rest.selection.exclude = "name=junk*";
  const PolicySet set({rest, rest2, web});
  const auto names = [&](const Subject& subject) {
    std::string all;
    for (const CompiledPolicy* p : set.Covering(subject)) all += p->record().id.value + " ";
    for (const CompiledPolicy& p : set.All()) {
      EXPECT_EQ(set.Selects(p, subject), all.find(p.record().id.value + " ") != std::string::npos)
          << p.record().id.value;
    }
    return all;
  };
  EXPECT_EQ(names(Vm("web1")), "web ");
  EXPECT_EQ(names(Vm("db1")), "rest rest2 ");
  EXPECT_EQ(names(Vm("junk1")), "rest2 ");
  EXPECT_EQ(names(FileSet("shop")), "");
}

TEST(PolicySetTest, AHostsMachinesAreOneGroupOfAtMostSoMany) {
  catalog::Policy policy = Policy("p");
  std::vector<Subject> subjects;
  for (int i = 0; i < 70; ++i) subjects.push_back(Vm("vm" + std::to_string(i), "h2"));
  subjects.push_back(Vm("a", "h1"));
  EXPECT_EQ(GroupMembers(policy, subjects).size(), 71u);
  policy.grouping = catalog::PolicyGrouping::kHost;
  const auto groups = GroupMembers(policy, subjects);
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0].members.size(), 1u);
  EXPECT_EQ(groups[1].members.size(), kMembersPerJobMax);
  EXPECT_EQ(groups[2].members.size(), 6u);
  EXPECT_NE(groups[1].key, groups[2].key);
}

}  // namespace
}  // namespace umbra::policies

// Proves that the authority is made once and kept, survives an interrupted first start, never replaces a damaged file,
// and signs only sound requests. Real files, real OpenSSL; checks are made through OpenSSL's own verifier.
#include "storage/tls/certificate_authority.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include <filesystem>

#include "storage/base/status.h"
#include "storage/tls/openssl.h"
#include "storage/tls/x509.h"

namespace umbra::tls {
namespace {

class CertificateAuthorityTest : public ::testing::Test {
 protected:
  CertificateAuthorityTest() {
    std::string pattern = ::testing::TempDir() + "umbra-ca-XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~CertificateAuthorityTest() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<CertificateAuthority> Open() {
    auto authority = CertificateAuthority::Open(filesystem_, clock_, random_, folder_);
    EXPECT_TRUE(authority.ok()) << base::Describe(authority.status());
    return authority.ok() ? *std::move(authority) : nullptr;
  }

  std::string path() const { return folder_ + "/authority.pem"; }

  base::PosixFilesystem filesystem_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  std::string folder_;
};

// What OpenSSL says about `leaf_pem` under the authority, for `purpose`.
int Verify(const std::string& authority_pem, const std::string& leaf_pem, int purpose) {
  const CertificatePtr authority = *ReadCertificate(authority_pem);
  const CertificatePtr leaf = *ReadCertificate(leaf_pem);
  StorePtr store(X509_STORE_new());
  X509_STORE_add_cert(store.get(), authority.get());
  StoreContextPtr context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), nullptr);
  X509_STORE_CTX_set_purpose(context.get(), purpose);
  X509_verify_cert(context.get());
  return X509_STORE_CTX_get_error(context.get());
}

TEST_F(CertificateAuthorityTest, AClientsCertificateIsCheckedAgainstItsAuthorityAndTime) {
  const auto authority = Open();
  const std::string pem = *authority->SignAgentCertificate(*MakeCsr(*GenerateKey(), "x"), "host-1", absl::Seconds(100));
  const absl::Time now = clock_.Now();
  EXPECT_TRUE(CheckClientCertificate(pem, authority->certificate_pem(), now).ok());
  const auto info = *Inspect(pem);
  EXPECT_NEAR(absl::ToDoubleSeconds(now - info.not_before), 10, 3) << "of a short life, a tenth";
  EXPECT_NEAR(absl::ToDoubleSeconds(info.not_after - now), 100, 3);
  const auto reason = [&](const std::string& leaf, absl::Time at) {
    return base::ReasonOf(CheckClientCertificate(leaf, authority->certificate_pem(), at));
  };
  EXPECT_EQ(reason(pem, now + absl::Seconds(105)), "CERTIFICATE_INVALID");
  EXPECT_EQ(reason(pem, now - absl::Seconds(15)), "CERTIFICATE_INVALID");
  EXPECT_EQ(reason(authority->IssueServerCertificate({})->chain_pem, now), "CERTIFICATE_INVALID");
  EXPECT_EQ(reason("rubbish", now), "CERTIFICATE_INVALID");
  std::filesystem::remove(path());
  const auto other = Open();
  EXPECT_EQ(reason(*other->SignAgentCertificate(*MakeCsr(*GenerateKey(), "x"), "host-1"), now), "CERTIFICATE_INVALID");
}

TEST_F(CertificateAuthorityTest, IsMadeOnceWithAPrivateFile) {
  const std::string fingerprint = Open()->fingerprint();
  EXPECT_EQ(fingerprint.size(), 64u);
  struct stat st;
  ASSERT_EQ(stat(path().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_EQ(Open()->fingerprint(), fingerprint);
}

TEST_F(CertificateAuthorityTest, InterruptedFirstStartRepairsItself) {
  std::filesystem::create_directories(folder_);
  ASSERT_TRUE(filesystem_.WriteFileAtomic(path() + ".tmp", "half a key").ok());
  EXPECT_NE(Open(), nullptr);
}

TEST_F(CertificateAuthorityTest, DamagedFileIsReportedAndKept) {
  Open();
  for (const std::string& content : {std::string("rubbish"), *GenerateKey(), std::string()}) {
    ASSERT_TRUE(filesystem_.WriteFileAtomic(path(), content).ok());
    const auto opened = CertificateAuthority::Open(filesystem_, clock_, random_, folder_);
    EXPECT_EQ(opened.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(base::ReasonOf(opened.status()), "AUTHORITY_DAMAGED");
    EXPECT_EQ(*filesystem_.ReadFile(path()), content);
  }
}

TEST_F(CertificateAuthorityTest, KeyOfAnotherCertificateIsDamage) {
  const std::string certificate = Open()->certificate_pem();
  ASSERT_TRUE(filesystem_.WriteFileAtomic(path(), *GenerateKey() + certificate).ok());
  EXPECT_EQ(base::ReasonOf(CertificateAuthority::Open(filesystem_, clock_, random_, folder_).status()),
            "AUTHORITY_DAMAGED");
}

TEST_F(CertificateAuthorityTest, ServerCertificateHoldsForItsNamesAndOnlyAsServer) {
  const auto authority = Open();
  const auto issued = authority->IssueServerCertificate({"backup.example", "192.0.2.7", "2001:db8::1"});
  ASSERT_TRUE(issued.ok()) << base::Describe(issued.status());
  EXPECT_TRUE(CheckKeyMatches(issued->chain_pem, issued->key_pem).ok());
  EXPECT_EQ(Verify(authority->certificate_pem(), issued->chain_pem, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  EXPECT_NE(Verify(authority->certificate_pem(), issued->chain_pem, X509_PURPOSE_SSL_CLIENT), X509_V_OK);

  const CertificatePtr leaf = *ReadCertificate(issued->chain_pem);
  for (const char* name : {"backup.example", "umbrad", "localhost"}) {
    EXPECT_EQ(X509_check_host(leaf.get(), name, 0, 0, nullptr), 1) << name;
  }
  for (const char* address : {"192.0.2.7", "2001:db8::1", "127.0.0.1"}) {
    EXPECT_EQ(X509_check_ip_asc(leaf.get(), address, 0), 1) << address;
  }
  EXPECT_EQ(X509_check_host(leaf.get(), "other.example", 0, 0, nullptr), 0);
}

TEST_F(CertificateAuthorityTest, NameCannotSmuggleAnother) {
  const auto authority = Open();
  for (const char* name : {"a,DNS:evil.example", "", "a b", "*.example"}) {
    EXPECT_EQ(base::ReasonOf(authority->IssueServerCertificate({name}).status()), "CERTIFICATE_INVALID") << name;
  }
}

TEST_F(CertificateAuthorityTest, AgentCertificateNamesTheHostNotTheRequestsSubject) {
  const auto authority = Open();
  const std::string key = *GenerateKey();
  const auto signed_pem = authority->SignAgentCertificate(*MakeCsr(key, "somebody-else"), "host-1");
  ASSERT_TRUE(signed_pem.ok()) << base::Describe(signed_pem.status());
  const auto info = Inspect(*signed_pem);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->common_name, "host-1");
  EXPECT_LE(info->not_after, clock_.Now() + kAgentLifetime);
  EXPECT_GT(info->not_after, clock_.Now() + kAgentLifetime - absl::Hours(1));
  EXPECT_TRUE(CheckKeyMatches(*signed_pem, key).ok());
  EXPECT_EQ(Verify(authority->certificate_pem(), *signed_pem, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
  EXPECT_NE(Verify(authority->certificate_pem(), *signed_pem, X509_PURPOSE_SSL_SERVER), X509_V_OK);
}

TEST_F(CertificateAuthorityTest, AnyHintOfANameWillDo) {
  const auto authority = Open();
  for (const std::string& hint : {std::string(), std::string(253, 'a')}) {
    const auto csr = MakeCsr(*GenerateKey(), hint);
    ASSERT_TRUE(csr.ok()) << base::Describe(csr.status());
    EXPECT_TRUE(authority->SignAgentCertificate(*csr, "host-1").ok());
  }
}

TEST_F(CertificateAuthorityTest, RefusesBadHostIds) {
  const auto authority = Open();
  const std::string csr = *MakeCsr(*GenerateKey(), "x");
  for (const std::string& id : {std::string(), std::string("Host 1"), std::string("a/b"), std::string(65, 'a')}) {
    EXPECT_EQ(authority->SignAgentCertificate(csr, id).status().code(), absl::StatusCode::kInvalidArgument) << id;
  }
}

class BadRequest : public CertificateAuthorityTest {
 protected:
  void ExpectRefused(const std::string& csr) {
    const auto result = Open()->SignAgentCertificate(csr, "host-1");
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(base::ReasonOf(result.status()), "CERTIFICATE_REQUEST_INVALID") << base::Describe(result.status());
  }
};

TEST_F(BadRequest, NotARequest) {
  ExpectRefused("");
  ExpectRefused("rubbish");
  ExpectRefused(*GenerateKey());
}

// A request that parses but whose subject was changed after it was signed.
TEST_F(BadRequest, TamperedRequest) {
  BioPtr in(BIO_new(BIO_s_mem()));
  BIO_puts(in.get(), MakeCsr(*GenerateKey(), "honest")->c_str());
  RequestPtr request(PEM_read_bio_X509_REQ(in.get(), nullptr, nullptr, nullptr));
  X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(request.get()), NID_commonName, MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>("evil"), -1, -1, 0);
  i2d_re_X509_REQ_tbs(request.get(), nullptr);  // forget the signed encoding
  BioPtr out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509_REQ(out.get(), request.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  ExpectRefused(std::string(data, static_cast<size_t>(size)));
}

TEST_F(BadRequest, OversizedRequest) {
  ExpectRefused(std::string(kCsrSizeMax + 1, '\n') + *MakeCsr(*GenerateKey(), "x"));
}

TEST_F(BadRequest, OtherKindsOfKeys) {
  KeyPtr rsa(EVP_RSA_gen(2048));
  ExpectRefused(*MakeCsr(*WriteKey(rsa.get()), "x"));
  KeyPtr p384(EVP_EC_gen("P-384"));
  ExpectRefused(*MakeCsr(*WriteKey(p384.get()), "x"));
}

}  // namespace
}  // namespace umbra::tls

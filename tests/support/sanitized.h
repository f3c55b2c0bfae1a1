// Whether this program was built with a sanitizer that makes everything several times slower: long loops are shorter then.
#ifndef UMBRA_TESTS_SUPPORT_SANITIZED_H_
#define UMBRA_TESTS_SUPPORT_SANITIZED_H_

namespace umbra::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_SANITIZED_H_

// What the build makes of the protos: the generator (api_description_main.cc) writes the definitions.
#ifndef UMBRA_SERVER_REST_API_DESCRIPTION_H_
#define UMBRA_SERVER_REST_API_DESCRIPTION_H_

#include <span>
#include <string_view>

namespace umbra::rest {

// A stable reason and the comment that error_reasons.proto gives it: what it means and what the reader should do.
struct ReasonAction {
  std::string_view reason;
  std::string_view action;
};
std::span<const ReasonAction> ReasonActions();

// Full names of the services of umbra.v1. All of them are in the program's own pool.
std::span<const std::string_view> ServiceNames();

// OpenAPI 3.1, as JSON.
std::string_view OpenApiJson();

// The reference for people: one page of HTML and its style, without scripts.
std::string_view ReferenceHtml();
std::string_view ReferenceCss();

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_API_DESCRIPTION_H_
